//! How long a client's certificate gives it the right to call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The right that the other end of a connection has by its certificate. Clones share their state.
///
/// It says when the right ended, before the connection does: whoever ignores that the connection has to go begins no call
/// meanwhile. A peer without a certificate has no such right that could end.
#[derive(Debug, Clone)]
pub struct Right(Arc<AtomicU64>);

/// No right that ends.
impl Default for Right {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Right {
    /// Sets the last second of the right, since 1970. It may come sooner than it was known before, or later.
    pub fn lasts_until(&self, second: u64) {
        self.0.store(second, Ordering::Release);
    }

    /// Ends the right now.
    pub fn end(&self) {
        self.lasts_until(0);
    }

    /// Whether the right has ended, by this machine's clock.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let last = self.0.load(Ordering::Acquire);
        if last == u64::MAX {
            return false;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.is_ok_and(|now| now >= Duration::from_secs(last.saturating_add(1)))
    }
}
