//! The clock of leases.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A moment from which a lease counts.
///
/// The clock goes on while the machine is suspended: a broker that wakes up must not believe in a lease that ended
/// meanwhile. Tests pause tokio's clock, so the one that is further ahead counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    since_boot: Duration,
    instant: Instant,
}

impl Moment {
    /// Returns this moment.
    pub fn now() -> Self {
        Self {
            since_boot: since_boot(),
            instant: Instant::now(),
        }
    }

    /// Returns how long ago this moment was.
    pub fn elapsed(&self) -> Duration {
        let slept = since_boot().saturating_sub(self.since_boot);
        slept.max(self.instant.elapsed())
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_the_clock_of_tests_and_the_real_one() {
        let moment = Moment::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(moment.elapsed() >= Duration::from_secs(3));
        let moment = Moment::now();
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(2) {}
        assert!(moment.elapsed() >= Duration::from_millis(2));
    }
}
