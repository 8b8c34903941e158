//! The history of one row, as its callers saw it.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

/// The state of the row: its version and its user, or `None` if there is no row.
pub type State = Option<(u64, Option<u32>)>;

/// What a caller did to the row, and what answer it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A write of this version for this user. No version is used twice.
    Store {
        /// The version that the row has after the write.
        version: u64,
        /// The user that the row belongs to after the write.
        user: Option<u32>,
        /// The condition of the write.
        condition: Condition,
    },
    /// A write that was refused because the row exists.
    StoreExists,
    /// A write or delete that was refused because the row isn't at this version.
    Mismatch {
        /// The version that the caller demanded.
        expected: u64,
        /// Whether the call is also refused if there is no row.
        absent_is_mismatch: bool,
    },
    /// A read of the row.
    Get {
        /// The version that was read, or `None` if there was no row.
        version: Option<u64>,
    },
    /// An unconditional delete.
    Delete {
        /// Whether there was a row.
        deleted: bool,
    },
    /// An unconditional delete whose caller didn't learn whether there was a row.
    DeleteAny,
    /// A delete on the condition of a version.
    DeleteVersion {
        /// The version that was deleted.
        version: u64,
    },
    /// A delete on the condition that the row is this user's. The caller didn't learn whether it
    /// was.
    DeleteUser {
        /// The user.
        user: u32,
    },
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// No condition.
    Always,
    /// There must be no row.
    Absent,
    /// The row must be at this version.
    Version(u64),
}

/// An action, with the times of its call and its return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The action.
    pub action: Action,
    /// When the caller made the call, measured from the start of the history.
    pub called: Duration,
    /// When the caller got the answer. `None` if the outcome is unknown: the action takes effect at any
    /// time after its call, once, or never.
    pub returned: Option<Duration>,
}

impl Action {
    /// Returns the state after the action, or `None` if the action can't have had its answer in
    /// `state`.
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

    /// Returns whether the action, done in `state`, certainly leaves it as it is. A delete with an
    /// unknown answer may have changed it.
    pub fn only_looks_at(self, state: State) -> bool {
        let unknown = matches!(self, Self::DeleteUser { .. } | Self::DeleteAny);
        !unknown && self.apply(state) == Some(state)
    }

    /// Returns the version that the row must have had for the action to succeed, if there is one.
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

    /// Returns the version that the action gives to the row, if it writes.
    pub fn writes(self) -> Option<u64> {
        match self {
            Self::Store { version, .. } => Some(version),
            _ => None,
        }
    }

    /// Returns whether the row's previous version is certainly gone after the action.
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

/// Collects operations from many tasks, with one clock for all.
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
    /// Records an action that was called at `called` and has just returned.
    pub fn note(&self, called: Instant, action: Action) {
        self.push(called, action, Some(self.start.elapsed()));
    }

    /// Records an action that was called at `called` and whose outcome is unknown. If it is a write,
    /// its version is unknown too: [`learn`](Self::learn) tells it, or it stays one that no caller saw.
    pub fn note_unknown(&self, called: Instant, action: Action) {
        self.push(called, action, None);
    }

    /// Sets the versions of writes of unknown outcome. `versions` maps the number that was recorded as
    /// the version to the version that callers read.
    pub fn learn(&self, versions: &HashMap<u64, u64>) {
        for operation in self.operations.lock().unwrap().iter_mut() {
            if operation.returned.is_none()
                && let Action::Store { version, .. } = &mut operation.action
                && let Some(read) = versions.get(version)
            {
                *version = *read;
            }
        }
    }

    fn push(&self, called: Instant, action: Action, returned: Option<Duration>) {
        let called = called.duration_since(self.start);
        self.operations.lock().unwrap().push(Operation {
            action,
            called,
            returned,
        });
    }

    /// Returns all recorded operations.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap().clone()
    }
}
