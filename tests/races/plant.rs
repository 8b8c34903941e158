//! Faults planted in a sound history: what a broken store would have answered. The clock leaves no
//! doubt about any of them, so that a checker that accepts one proves nothing.

use std::time::Duration;

use testkit::linearizability::{Action, Operation};

/// A read that answers a version although its replacement had been acknowledged before. `None` if
/// the history has no place for one.
pub(crate) fn stale_read(history: &[Operation]) -> Option<Vec<Operation>> {
    plant(history, |history, read| {
        let replacement = last_before(history, read.called, |op| written(op.action).is_some())?;
        let old = last_before(history, replacement.called, |op| {
            let version = found(op.action);
            version.is_some() && version != written(replacement.action)
        })?;
        found(old.action)
    })
}

/// A read that finds the very row that an acknowledged delete had removed.
pub(crate) fn lost_delete(history: &[Operation]) -> Option<Vec<Operation>> {
    let deleted = Action::Delete { deleted: true };
    plant(history, |history, read| {
        let delete = last_before(history, read.called, |op| op.action == deleted)?;
        let old = last_before(history, delete.called, |op| found(op.action).is_some())?;
        found(old.action)
    })
}

/// Gives a read in the middle of the history another answer, or the first one after it that has one.
fn plant(
    history: &[Operation],
    answer: impl Fn(&[Operation], &Operation) -> Option<u64>,
) -> Option<Vec<Operation>> {
    let middle = history.len() / 2;
    (middle..history.len()).find_map(|place| {
        let read = &history[place];
        let is_read = matches!(read.action, Action::Get { .. });
        let version = is_read.then(|| answer(history, read))??;
        let mut planted = history.to_vec();
        planted[place].action = Action::Get {
            version: Some(version),
        };
        Some(planted)
    })
}

/// Of the operations that returned before a time the last one that suits.
fn last_before(
    history: &[Operation],
    time: Duration,
    suits: impl Fn(&Operation) -> bool,
) -> Option<&Operation> {
    let before = history.iter().filter(|op| op.returned < time && suits(op));
    before.max_by_key(|op| op.returned)
}

/// The version that an operation is known to have written.
fn written(action: Action) -> Option<u64> {
    match action {
        Action::Store { version, .. } => Some(version),
        _ => None,
    }
}

/// The version that was the row's when the operation took effect, or since then.
fn found(action: Action) -> Option<u64> {
    match action {
        Action::Get { version } => version,
        other => written(other),
    }
}
