//! Checks whether the recorded history of a row is linearizable: whether each operation can be
//! given one instant between its call and its return, so that a single row in one thread would have
//! given the same answers (Herlihy and Wing, ACM TOPLAS 12(3), 1990).
//!
//! An operation of unknown outcome has no return: it takes effect at any time after its call, once, or
//! never.
//!
//! The checker searches the prefixes of possible orders (Wing and Gong, 1993), and remembers the
//! ones that it has seen (Lowe, 2017). Three facts about rows keep the search short. An operation
//! that changes nothing can be taken as soon as it fits. A version that is gone never comes back,
//! so every operation that needs it must have been taken before it went. And an operation of unknown
//! outcome can wait until another operation needs its effect (`unknown`).

mod history;
mod unknown;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

pub use history::{Action, Condition, Operation, Recorder, State};
use unknown::Unknown;

/// The end of the longest order that the checker found.
#[derive(Debug)]
pub struct Violation {
    /// How many operations could be ordered.
    pub ordered: usize,
    /// The state after these operations.
    pub state: State,
    /// The operations that could come next. None of them fits.
    pub stuck: Vec<Operation>,
}

/// An operation that has surely taken effect between two times.
#[derive(Clone, Copy, Debug)]
struct Sure {
    action: Action,
    called: Duration,
    returned: Duration,
}

/// A set of operations that have been ordered: all before `first`, and those in `others`, which are
/// after `first` and ascending. Operations are identified by their index in the order of their
/// calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Prefix {
    first: usize,
    others: Vec<usize>,
    /// The operations of unknown outcome that have taken effect, by their own indexes, ascending.
    unknown: Vec<usize>,
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

impl From<Sure> for Operation {
    fn from(sure: Sure) -> Self {
        let Sure {
            action,
            called,
            returned,
        } = sure;
        Self {
            action,
            called,
            returned: Some(returned),
        }
    }
}

/// Checks a history that starts without a row.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    let (operations, unknown) = Unknown::split(history);
    let mut needed_by: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        if let Some(version) = operation.action.needs() {
            needed_by.entry(version).or_default().push(at);
        }
    }

    if let Some(late) = late_for_its_version(&operations) {
        return Err(Violation {
            ordered: 0,
            state: None,
            stuck: vec![late.into()],
        });
    }

    let mut longest = Prefix {
        first: 0,
        others: Vec::new(),
        unknown: Vec::new(),
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
        let candidates = candidates(&operations, &prefix);
        // The last one that is pushed is tried first: without operations of unknown outcome, and in
        // the order of the calls.
        let chains = unknown.chains(&prefix, soonest_return(&operations, &candidates));
        for at in candidates.iter().rev() {
            let action = operations[*at].action;
            // A look that fits now has been taken.
            let alone = action.apply(prefix.state);
            for chain in &chains {
                if let Some(after) = action.apply(chain.state)
                    && alone != Some(after)
                {
                    let mut longer = prefix.clone();
                    longer.unknown.clone_from(&chain.unknown);
                    longer.add(*at, after);
                    if !leaves_an_operation_behind(&needed_by, &prefix, &longer) {
                        open.push(longer);
                    }
                }
            }
        }
        for at in candidates.into_iter().rev() {
            let Some(state) = operations[at].action.apply(prefix.state) else {
                continue;
            };
            let mut longer = prefix.clone();
            longer.add(at, state);
            if !leaves_an_operation_behind(&needed_by, &prefix, &longer) {
                open.push(longer);
            }
        }
    }
    let stuck = candidates(&operations, &longest);
    Err(Violation {
        ordered: longest.len(),
        state: longest.state,
        stuck: stuck.into_iter().map(|at| operations[at].into()).collect(),
    })
}

/// Finds an operation that needs a version which was certainly gone when the operation was called:
/// the version had been seen, and then an operation that changed the row was called and had
/// returned. This needs only the clock, and avoids a search through all orders of the earlier
/// operations.
fn late_for_its_version(operations: &[Sure]) -> Option<Sure> {
    let mut seen_by: HashMap<u64, Duration> = HashMap::new();
    for operation in operations {
        for version in operation
            .action
            .needs()
            .into_iter()
            .chain(operation.action.writes())
        {
            let seen = seen_by.entry(version).or_insert(operation.returned);
            *seen = operation.returned.min(*seen);
        }
    }
    let changes: Vec<_> = operations
        .iter()
        .filter(|op| op.action.surely_ends_a_version())
        .collect();
    // For each change, the earliest return among it and the later ones, in the order of their
    // calls.
    let mut earliest = vec![Duration::MAX; changes.len() + 1];
    for (at, change) in changes.iter().enumerate().rev() {
        earliest[at] = earliest[at + 1].min(change.returned);
    }
    let late = |operation: &&Sure| {
        let seen = operation.action.needs().map(|version| seen_by[&version]);
        seen.is_some_and(|seen| {
            let after = changes.partition_point(|change| change.called <= seen);
            earliest[after] < operation.called
        })
    };
    operations.iter().find(late).copied()
}

/// Returns the operations that may come next: the ones that were called before any other remaining
/// operation returned.
fn candidates(operations: &[Sure], prefix: &Prefix) -> Vec<usize> {
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

/// Returns when the first of the candidates returned. What takes effect now was called before.
fn soonest_return(operations: &[Sure], candidates: &[usize]) -> Duration {
    let returned = candidates.iter().map(|at| operations[*at].returned);
    returned.min().unwrap_or_default()
}

fn take_what_changes_nothing(operations: &[Sure], prefix: &mut Prefix) {
    loop {
        let fits = |at: &usize| operations[*at].action.only_looks_at(prefix.state);
        let Some(at) = candidates(operations, prefix).into_iter().find(fits) else {
            return;
        };
        prefix.add(at, prefix.state);
    }
}

fn leaves_an_operation_behind(
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
