//! What callers saw happen to one row.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// The row's state: its version and its user, if there is a row.
pub type State = Option<(u64, Option<u32>)>;

/// What a caller did to the row, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A write of this version for this user. Versions are never used twice.
    Store {
        /// The version that the row has from then on.
        version: u64,
        /// The user whose row it is from then on.
        user: Option<u32>,
        /// What the write demanded.
        condition: Condition,
    },
    /// A write that was refused because the row exists.
    StoreExists,
    /// A write or delete that was refused because the row isn't at this version.
    Mismatch {
        /// The version that the caller demanded.
        expected: u64,
        /// Whether the call is also refused where there is no row.
        absent_is_mismatch: bool,
    },
    /// A read.
    Get {
        /// The version that was read; `None` if there was no row.
        version: Option<u64>,
    },
    /// A delete of whatever there was.
    Delete {
        /// Whether there was a row.
        deleted: bool,
    },
    /// A delete of whatever there was, if anything: the caller wasn't told.
    DeleteAny,
    /// A delete of one version.
    DeleteVersion {
        /// The version that was there.
        version: u64,
    },
    /// A delete of the row if it is this user's: the caller wasn't told whether it was.
    DeleteUser {
        /// The user.
        user: u32,
    },
}

/// What a write demanded of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// That there is no row.
    Absent,
    /// That the row is at this version.
    Version(u64),
}

/// An action with the time of its call and of its return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was done.
    pub action: Action,
    /// When it was called, after the start of the history.
    pub called: Duration,
    /// When the caller had the answer.
    pub returned: Duration,
}

impl Action {
    /// The state after the action, if it can have been done, with that answer, in `state`.
    pub fn apply(self, state: State) -> Option<State> {
        let version = state.map(|(version, _)| version);
        let holds = |holds: bool, after: State| holds.then_some(after);
        match self {
            Self::Store {
                version: new,
                user,
                condition,
            } => {
                let allowed = match condition {
                    Condition::Always => true,
                    Condition::Absent => state.is_none(),
                    Condition::Version(expected) => version == Some(expected),
                };
                holds(allowed, Some((new, user)))
            }
            Self::StoreExists => holds(state.is_some(), state),
            Self::Mismatch {
                expected,
                absent_is_mismatch,
            } => {
                let mismatch = version.map_or(absent_is_mismatch, |version| version != expected);
                holds(mismatch, state)
            }
            Self::Get { version: read } => holds(version == read, state),
            Self::Delete { deleted } => holds(state.is_some() == deleted, None),
            Self::DeleteVersion { version: named } => holds(version == Some(named), None),
            Self::DeleteAny => Some(None),
            Self::DeleteUser { user } => Some(state.filter(|(_, owner)| *owner != Some(user))),
        }
    }

    /// Whether the action, done in `state`, leaves it as it is and can't have done anything else: what
    /// a delete of unknown answer did is not known.
    pub fn only_looks_at(self, state: State) -> bool {
        let unknown = matches!(self, Self::DeleteUser { .. } | Self::DeleteAny);
        !unknown && self.apply(state) == Some(state)
    }

    /// The version without which the action can't have been done.
    pub fn needs(self) -> Option<u64> {
        match self {
            Self::Get { version } => version,
            Self::DeleteVersion { version }
            | Self::Store {
                condition: Condition::Version(version),
                ..
            } => Some(version),
            _ => None,
        }
    }

    /// The version that the action brings.
    pub fn writes(self) -> Option<u64> {
        match self {
            Self::Store { version, .. } => Some(version),
            _ => None,
        }
    }

    /// Whether a version that was the row's before surely isn't afterwards.
    pub fn surely_ends_a_version(self) -> bool {
        matches!(
            self,
            Self::Store { .. }
                | Self::Delete { deleted: true }
                | Self::DeleteAny
                | Self::DeleteVersion { .. }
        )
    }
}

/// Collects operations from many tasks, by one clock.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    operations: Mutex<Vec<Operation>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            operations: Mutex::default(),
        }
    }
}

impl Recorder {
    /// Notes what was called at `called` and has returned just now.
    pub fn note(&self, called: Instant, action: Action) {
        let (called, returned) = (called.duration_since(self.start), self.start.elapsed());
        self.operations.lock().unwrap().push(Operation {
            action,
            called,
            returned,
        });
    }

    /// All that was noted.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap().clone()
    }
}
