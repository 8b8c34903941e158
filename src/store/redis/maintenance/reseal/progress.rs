//! How far the work is, for a person who waits for it.

use std::fmt;

use serde::Serialize;

use crate::store::redis::maintenance::progress::{State, Walked};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// How many rows were sealed again, or for the first time.
    pub resealed: u64,
    /// How many passes over the rows were finished.
    pub passes: u64,
}

/// How far a walk over the rows is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResealProgress {
    /// How far it has walked through the keys in this pass.
    pub walked: Walked,
    /// What was done so far.
    pub done: Done,
}

impl fmt::Display for ResealProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pass {}: {} rows sealed, {} keys looked at, {}",
            self.done.passes + 1,
            self.done.resealed,
            self.walked.scanned,
            self.walked
        )
    }
}

impl State for ResealProgress {
    fn log(&self) {
        tracing::info!(
            pass = self.done.passes + 1,
            resealed = self.done.resealed,
            scanned = self.walked.scanned,
            keys_per_second = self.walked.rate().round(),
            seconds_left = self.walked.left().map(|left| left.as_secs()),
            "sealing"
        );
    }
}
