//! What became of spans.

use crate::meter::Count;

/// How many spans ended in which way.
#[derive(Debug, Default)]
pub struct TraceFigures {
    /// Those that were handed to the queue.
    pub(super) queued: Count,
    /// Those that the collector took.
    pub exported: Count,
    /// Those that there was no room for, in the queue or in their trace.
    pub dropped: Count,
    /// Those that couldn't be sent, and those that the collector refused.
    pub failed: Count,
}

impl TraceFigures {
    /// Returns how many spans wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let done = self.exported.get() + self.failed.get();
        self.queued.get().saturating_sub(done)
    }
}
