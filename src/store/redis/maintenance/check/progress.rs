//! How far a check is, for a person who waits for it.

use std::fmt;

use crate::store::redis::maintenance::progress::{State, Walked};

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CheckProgress {
    /// How far it has walked through the keys.
    pub walked: Walked,
    /// How much damage was found so far.
    pub damaged: u64,
    /// How much was mended, including leftovers.
    pub mended: u64,
}

impl fmt::Display for CheckProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys checked, {} damaged, {} mended, {}",
            self.walked.scanned, self.damaged, self.mended, self.walked
        )
    }
}

impl State for CheckProgress {
    fn log(&self) {
        tracing::info!(
            scanned = self.walked.scanned,
            damaged = self.damaged,
            mended = self.mended,
            keys_per_second = self.walked.rate().round(),
            seconds_left = self.walked.left().map(|left| left.as_secs()),
            "checking"
        );
    }
}
