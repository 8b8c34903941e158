//! When a connection is read on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// For how long after a pause a connection is read in small parts.
const RECENT: Duration = Duration::from_secs(1);

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
        self.end().filter(|until| *until > Instant::now())
    }

    /// Whether there was a pause not long ago.
    pub fn is_recent(&self) -> bool {
        let is_recent = |until: Instant| until + RECENT > Instant::now();
        self.end().is_some_and(is_recent)
    }

    /// Returns when the last pause ends or ended.
    fn end(&self) -> Option<Instant> {
        let after = self.until.load(Ordering::Relaxed);
        (after > 0).then(|| self.since + Duration::from_millis(after))
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
        assert_eq!((pause.until(), pause.is_recent()), (None, true));
        pause.extend(long + Duration::from_millis(5));
        assert!(pause.until().is_some());
        advance(RECENT + Duration::from_millis(5)).await;
        assert!(!pause.is_recent());
    }
}
