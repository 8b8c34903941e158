//! Was the recorded history of a row linearizable: can each operation be given one instant between
//! its call and its return so that one row in one thread would have answered the same? (Herlihy and
//! Wing, ACM TOPLAS 12(3), 1990.)
//!
//! A search over prefixes of possible orders (Wing and Gong, 1993) that remembers which it has seen
//! (Lowe, 2017). Two facts about rows keep it short: an operation that changes nothing can be taken as
//! soon as it fits, and a version that is gone never comes back, so that whoever needs it must have
//! been taken before.

#![allow(dead_code, unused_imports, reason = "each test takes a part")]

mod history;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

pub use history::{Action, Condition, Operation, Recorder, State};

/// Where the longest order that could be found ends.
#[derive(Debug)]
pub struct Violation {
    /// How many operations could be put in order.
    pub ordered: usize,
    /// The state after them.
    pub state: State,
    /// Those that would have to come next, none of which fits.
    pub stuck: Vec<Operation>,
}

/// Operations that have been put in order: all before `first`, and those of `others`, which are
/// after it and ascending. Operations are known by their place in the order of their calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Prefix {
    first: usize,
    others: Vec<usize>,
    state: State,
}

impl Prefix {
    fn contains(&self, at: usize) -> bool {
        at < self.first || self.others.binary_search(&at).is_ok()
    }

    fn add(&mut self, at: usize, state: State) {
        self.state = state;
        if let Err(place) = self.others.binary_search(&at) {
            self.others.insert(place, at);
        }
        let contiguous = self
            .others
            .iter()
            .zip(self.first..)
            .take_while(|(at, n)| *at == n)
            .count();
        self.others.drain(..contiguous);
        self.first += contiguous;
    }

    fn len(&self) -> usize {
        self.first + self.others.len()
    }
}

/// Checks a history that begins without a row.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    let mut operations = history.to_vec();
    operations.sort_by_key(|operation| operation.called);
    let mut needed_by: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        if let Some(version) = operation.action.needs() {
            needed_by.entry(version).or_default().push(at);
        }
    }

    let mut longest = Prefix {
        first: 0,
        others: Vec::new(),
        state: None,
    };
    let mut seen = HashSet::new();
    let mut open = vec![longest.clone()];
    while let Some(mut prefix) = open.pop() {
        take_what_changes_nothing(&operations, &mut prefix);
        if prefix.len() > longest.len() {
            longest = prefix.clone();
        }
        if prefix.len() == operations.len() {
            return Ok(());
        }
        if !seen.insert(prefix.clone()) {
            continue;
        }
        for at in candidates(&operations, &prefix).into_iter().rev() {
            let Some(state) = operations[at].action.apply(prefix.state) else {
                continue;
            };
            let mut longer = prefix.clone();
            longer.add(at, state);
            if !leaves_somebody_behind(&needed_by, &prefix, &longer) {
                open.push(longer);
            }
        }
    }
    let stuck = candidates(&operations, &longest);
    Err(Violation {
        ordered: longest.len(),
        state: longest.state,
        stuck: stuck.into_iter().map(|at| operations[at]).collect(),
    })
}

/// Those that may come next: called before any of the others that are left returned.
fn candidates(operations: &[Operation], prefix: &Prefix) -> Vec<usize> {
    let mut soonest = Duration::MAX;
    let mut candidates = Vec::new();
    for (at, operation) in operations.iter().enumerate().skip(prefix.first) {
        if operation.called > soonest {
            break;
        }
        if !prefix.contains(at) {
            soonest = soonest.min(operation.returned);
            candidates.push(at);
        }
    }
    candidates.retain(|at| operations[*at].called <= soonest);
    candidates
}

fn take_what_changes_nothing(operations: &[Operation], prefix: &mut Prefix) {
    loop {
        let fits = |at: &usize| operations[*at].action.only_looks_at(prefix.state);
        let Some(at) = candidates(operations, prefix).into_iter().find(fits) else {
            return;
        };
        prefix.add(at, prefix.state);
    }
}

fn leaves_somebody_behind(
    needed_by: &HashMap<u64, Vec<usize>>,
    before: &Prefix,
    after: &Prefix,
) -> bool {
    let gone = match (before.state, after.state) {
        (Some((version, _)), Some((new, _))) if version == new => return false,
        (Some((version, _)), _) => version,
        (None, _) => return false,
    };
    needed_by
        .get(&gone)
        .is_some_and(|needers| needers.iter().any(|at| !after.contains(*at)))
}
