//! What is counted about the trail.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start, and what waits now. Of several destinations, each counts for itself.
#[derive(Debug, Default)]
pub struct Figures {
    pub(super) written: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) withheld: AtomicU64,
    pub(super) counted: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) failing: AtomicU64,
    pub(super) rotations: AtomicU64,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that were written.
    pub written: u64,
    /// Attempts to write that failed.
    pub failures: u64,
    /// Events that were lost, which happens with `best-effort` only, or at the end of the process.
    pub lost: u64,
    /// Calls that were refused before anything was done, because their events couldn't be written.
    pub refused: u64,
    /// Answers that were withheld because their events couldn't be written in time.
    pub withheld: u64,
    /// Denials that have no events of their own, and are counted in one.
    pub counted: u64,
    /// Calls in flight whose events have their places, and events that wait to be written.
    pub waiting: u64,
    /// Destinations that can't be written now.
    pub failing: u64,
    /// Files that were begun because another one was full, or had been moved away.
    pub rotations: u64,
}

impl Figures {
    /// Returns the figures as they are now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let now = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Totals {
            written: now(&self.written),
            failures: now(&self.failures),
            lost: now(&self.lost),
            refused: now(&self.refused),
            withheld: now(&self.withheld),
            counted: now(&self.counted),
            waiting: now(&self.waiting),
            failing: now(&self.failing),
            rotations: now(&self.rotations),
        }
    }
}

/// Adds one to a figure.
pub(super) fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Ordering::Relaxed);
}
