//! When a connection last had a call that the policy let in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// The last moment of a connection's calls that the policy let in.
#[derive(Debug)]
pub(super) struct LetIn {
    /// The connection's begin.
    since: Instant,
    /// How long after that it was, in milliseconds and one more. 0: never.
    last: AtomicU64,
}

impl Default for LetIn {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }
}

impl LetIn {
    /// Takes note that such a call is under way.
    pub fn note(&self) {
        let after = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(after + 1, Ordering::Relaxed);
    }

    /// Returns when that was last.
    pub fn last(&self) -> Option<Instant> {
        let after = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.since + Duration::from_millis(after))
    }
}
