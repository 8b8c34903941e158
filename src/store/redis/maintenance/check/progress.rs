//! How far a check is, for those who wait for it.

use std::fmt;

use crate::store::redis::maintenance::progress::{State, Walked};

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CheckProgress {
    /// How far it got through the keys.
    pub walked: Walked,
    /// What is damaged, so far.
    pub damaged: u64,
    /// What was mended, leftovers among it.
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
