//! Operations of unknown outcome: each takes effect at any time after its call, once, or never.
//!
//! If a version was read, the write of this version has surely taken effect before that. The others may have.
//! The search lets one take effect only right before an operation that needs its effect. No order is missed in
//! this way. What takes effect earlier can wait, as long as the operations in between only look. If one in between
//! replaces the row whatever it is, it might as well never have taken effect.

use std::{collections::HashMap, time::Duration};

use super::{Action, Operation, Prefix, State, Sure};

/// How many operations of unknown outcome may take effect one right after the other. More are never needed: one
/// removes the row, one writes it, and one removes it again.
const CHAIN: usize = 3;

/// The operations of unknown outcome whose effect no caller has certainly seen, in the order of their calls.
pub(super) struct Unknown {
    operations: Vec<Operation>,
    /// For each operation, an earlier one that has the same effect, if there is one. It takes effect first.
    earlier: Vec<Option<usize>>,
}

impl Unknown {
    /// Returns the operations that have surely taken effect, in the order of their calls, and the others.
    pub(super) fn split(history: &[Operation]) -> (Vec<Sure>, Self) {
        let mut seen: HashMap<u64, Duration> = HashMap::new();
        for operation in history {
            if let (Some(version), Some(returned)) = (operation.action.needs(), operation.returned)
            {
                let seen = seen.entry(version).or_insert(returned);
                *seen = returned.min(*seen);
            }
        }
        let (mut sure, mut operations) = (Vec::new(), Vec::new());
        for operation in history {
            let written = operation.action.writes();
            let read = written.and_then(|version| seen.get(&version).copied());
            match operation.returned.or(read) {
                Some(returned) => sure.push(Sure {
                    action: operation.action,
                    called: operation.called,
                    returned,
                }),
                None => operations.push(*operation),
            }
        }
        sure.sort_by_key(|operation| operation.called);
        operations.sort_by_key(|operation| operation.called);
        let mut last = HashMap::new();
        let earlier = operations
            .iter()
            .enumerate()
            .map(|(at, operation)| last.insert(effect(operation.action), at))
            .collect();
        (
            sure,
            Self {
                operations,
                earlier,
            },
        )
    }

    /// Returns what can become of a prefix if some of these operations take effect before `now`.
    pub(super) fn chains(&self, prefix: &Prefix, now: Duration) -> Vec<Chain> {
        let mut chains: Vec<Chain> = Vec::new();
        let mut last = vec![Chain {
            unknown: prefix.unknown.clone(),
            state: prefix.state,
            before: None,
        }];
        for _ in 0..CHAIN {
            let mut longer: Vec<Chain> = Vec::new();
            for chain in &last {
                for (at, operation) in self.operations.iter().enumerate() {
                    if operation.called > now {
                        break;
                    }
                    longer.extend(self.longer(chain, at, operation.action));
                }
            }
            longer.sort_unstable_by(|a, b| a.unknown.cmp(&b.unknown));
            longer.dedup_by(|a, b| a.unknown == b.unknown && a.state == b.state);
            chains.extend(longer.iter().cloned());
            last = longer;
        }
        chains
    }

    /// Lets one more operation take effect, if that can matter.
    fn longer(&self, chain: &Chain, at: usize, action: Action) -> Option<Chain> {
        let place = chain.unknown.binary_search(&at).err()?;
        let is_done = |earlier: usize| chain.unknown.binary_search(&earlier).is_ok();
        if !self.earlier[at].is_none_or(is_done) {
            return None;
        }
        let state = action.apply(chain.state)?;
        // Without the operation before it, the effect would be the same.
        let alone = chain.before.and_then(|before| action.apply(before));
        if state == chain.state || alone == Some(state) {
            return None;
        }
        let mut unknown = chain.unknown.clone();
        unknown.insert(place, at);
        Some(Chain {
            unknown,
            state,
            before: Some(chain.state),
        })
    }
}

/// A prefix after which operations of unknown outcome took effect.
#[derive(Clone)]
pub(super) struct Chain {
    /// All operations of unknown outcome that have taken effect, ascending.
    pub(super) unknown: Vec<usize>,
    pub(super) state: State,
    /// The state before the last of them took effect.
    before: Option<State>,
}

/// Returns the action without what tells it apart from others that have the same effect.
fn effect(action: Action) -> Action {
    match action {
        Action::Store {
            user, condition, ..
        } => Action::Store {
            version: 0,
            user,
            condition,
        },
        other => other,
    }
}
