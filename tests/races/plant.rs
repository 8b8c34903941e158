//! Plants faults in a sound history: answers that a broken store would have given. The times prove
//! that each fault is one, so a checker that accepts it is useless.

use std::time::Duration;

use testkit::linearizability::{Action, Operation};

/// Plants a read of a version whose replacement had been acknowledged before. Returns `None` if the
/// history has no place for such a read.
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

/// Plants a read that finds a row after an acknowledged delete removed it.
pub(crate) fn lost_delete(history: &[Operation]) -> Option<Vec<Operation>> {
    let deleted = Action::Delete { deleted: true };
    plant(history, |history, read| {
        let delete = last_before(history, read.called, |op| op.action == deleted)?;
        let old = last_before(history, delete.called, |op| found(op.action).is_some())?;
        found(old.action)
    })
}

/// Changes the answer of a read in the middle of the history, or of the first read after it that
/// can be changed.
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

/// Returns the last suitable operation that returned before a time.
fn last_before(
    history: &[Operation],
    time: Duration,
    suits: impl Fn(&Operation) -> bool,
) -> Option<&Operation> {
    let is_before = |op: &&Operation| op.returned.is_some_and(|returned| returned < time);
    let before = history.iter().filter(|op| is_before(op) && suits(op));
    before.max_by_key(|op| op.returned)
}

/// Returns the version that an operation certainly wrote.
fn written(action: Action) -> Option<u64> {
    match action {
        Action::Store { version, .. } => Some(version),
        _ => None,
    }
}

/// Returns the version that the row had right after the operation took effect, if the answer tells
/// it.
fn found(action: Action) -> Option<u64> {
    match action {
        Action::Get { version } => version,
        other => written(other),
    }
}
