//! The clock of a server, as the broker knows it.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::types::lock;

/// After how long the server has to be asked again, because its clock and the broker's drift apart.
const FRESH: Duration = Duration::from_secs(30);

/// What a server's clock says, in microseconds since 1970. Unknown until the server is asked.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Option<Reading>>);

/// What the clock said, and when the broker learned it. The server's clock was that far then, or a little further.
#[derive(Clone, Copy, Debug)]
struct Reading {
    micros: u64,
    at: Instant,
}

impl Clock {
    /// Takes note that the server's clock says `micros`.
    pub fn set(&self, micros: u64) {
        let at = Instant::now();
        *self.reading() = Some(Reading { micros, at });
    }

    /// Whether the server has to be asked.
    pub fn is_stale(&self) -> bool {
        self.reading()
            .is_none_or(|reading| reading.at.elapsed() > FRESH)
    }

    /// Returns what the clock says at `moment`, or a little less. Returns `None` if the clock is unknown.
    pub fn at(&self, moment: Instant) -> Option<u64> {
        let Reading { micros, at } = (*self.reading())?;
        let passed = moment.saturating_duration_since(at).as_micros();
        Some(micros.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    fn reading(&self) -> MutexGuard<'_, Option<Reading>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_goes_on_from_what_it_said_last() {
        let clock = Clock::default();
        let moment = Instant::now() + Duration::from_millis(5);
        assert_eq!(clock.at(moment), None);
        assert!(clock.is_stale());
        clock.set(1_000_000);
        assert_eq!(clock.at(moment), Some(1_005_000));
        assert!(!clock.is_stale());
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(clock.is_stale());
        clock.set(7);
        assert_eq!(clock.at(Instant::now()), Some(7));
    }
}
