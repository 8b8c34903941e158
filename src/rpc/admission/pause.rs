//! When a connection is read on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Until when a connection isn't read, because too many of its calls were refused.
#[derive(Debug)]
pub(super) struct Pause {
    /// The connection's begin.
    since: Instant,
    /// How long after that it is, in milliseconds. 0: there was none.
    until: AtomicU64,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            until: AtomicU64::new(0),
        }
    }
}

impl Pause {
    /// Pauses until this moment, or until one that was set before and is later.
    pub fn extend(&self, until: Instant) {
        let after = until.saturating_duration_since(self.since).as_millis();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.until.fetch_max(after, Ordering::Relaxed);
    }

    /// Returns until when the connection isn't read, if that is still to come.
    pub fn until(&self) -> Option<Instant> {
        let after = self.until.load(Ordering::Relaxed);
        let until = (after > 0).then(|| self.since + Duration::from_millis(after));
        until.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longer_pause_counts_and_it_ends() {
        let (pause, now) = (Pause::default(), Instant::now());
        assert_eq!(pause.until(), None);
        let [short, long] = [10, 20].map(|ms| now + Duration::from_millis(ms));
        pause.extend(long);
        pause.extend(short);
        assert_eq!(pause.until(), Some(long));
        advance(Duration::from_millis(20)).await;
        assert_eq!(pause.until(), None);
        pause.extend(long + Duration::from_millis(5));
        assert!(pause.until().is_some());
    }
}
