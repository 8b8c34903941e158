//! Stragglers: older data that an old replica writes during a rolling upgrade (guarantees, section 5, M7).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Migration,
    completed::Remembered,
    find::GraceStart,
    pass::{Pace, Pass},
    progress::Silent,
    report::Report,
};
use crate::store::{Error, redis::maintenance::grace};

/// A sweep takes one part in this many of Redis' time.
pub const SHARE: u32 = 20;

/// How many times as long as this broker another one may be configured to wait between two sweeps.
const LONGER: u32 = 10;
/// How long any broker may be configured to wait.
const LONG: Duration = Duration::from_secs(3600);

impl Migration {
    /// Looks for stragglers each time that `every` is over, while the tenant is in its grace period. One broker at a
    /// time does so. Never returns; it is safe to drop the future at any point.
    ///
    /// A straggler waits at most for `every`, a fifth more, and the time of one pass. With 30 s it is migrated within a
    /// minute, if a pass takes 24 s or less. A page of 1,000 keys takes Redis 1 to 3 ms, and the rest after it takes
    /// 19 times as long, so a pass of 24 s covers about half a million keys.
    pub async fn watch_stragglers(&self, every: Duration) {
        let mut failed = 0;
        let mut last = None;
        // Whether somebody misses what is not done while Redis can't be asked.
        let mut is_grace = false;
        loop {
            // Random, so that the brokers don't all ask at once. Short, so that a sweep follows the last one soon.
            sleep(every.mul_f64(rand::random_range(0.15..0.25))).await;
            let swept = match grace::is_open(&self.link, &self.keys).await {
                Ok(is_open) => {
                    is_grace = is_open;
                    self.sweep(every).await
                }
                Err(error) => Err(error),
            };
            let error = swept.as_ref().err().map(|error| error.detail().to_owned());
            match swept {
                Ok(Some(report)) => {
                    let now = report.rows.failed + report.identities.failed;
                    let changed = report.rows.changed() + report.identities.changed();
                    if changed > 0 || now != failed {
                        report.log();
                    }
                    failed = now;
                }
                Ok(None) => {}
                Err(_) if is_grace && error != last => {
                    let reason = error.as_deref();
                    tracing::warn!(reason, "could not look for older data");
                }
                Err(_) => {
                    let reason = error.as_deref();
                    tracing::debug!(reason, "could not look for older data");
                }
            }
            last = error;
        }
    }

    /// Looks for stragglers once. For `every` from its beginning no broker does so again. Returns `None` if there is
    /// nothing to do: the grace period is over, nothing is mapped, Redis has lost what this broker
    /// relies on, or another broker looked less than `every` ago.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn sweep(&self, every: Duration) -> Result<Option<Report>, Error> {
        let begun = Instant::now();
        if !grace::is_open(&self.link, &self.keys).await? {
            return Ok(None);
        }
        // The semaphore is never closed. A tenant that comes late has its lease for the shorter rest of the span.
        let _turn = self.turns.acquire().await;
        let key = self.keys.sweep_lease();
        let rest = (LONGER * every).max(LONG);
        let Ok(lease) = self.take_lease(key, rest).await? else {
            return Ok(None);
        };
        match lease.during(self.look()).await {
            Some(Ok(report)) => {
                let rest = every.saturating_sub(begun.elapsed());
                lease.leave_for(rest).await?;
                Ok(report)
            }
            // Nobody tries again before the lease runs out, because it would fail in the same way.
            Some(Err(error)) => {
                lease.run_out();
                Err(error)
            }
            None => Ok(None),
        }
    }

    /// Looks for stragglers, under the lease. Returns `None` if nothing is mapped, or if Redis has lost
    /// what this broker relies on.
    async fn look(&self) -> Result<Option<Report>, Error> {
        // The last completed mapping counts, even where this broker is still configured with an earlier one.
        let remembered = Remembered::read(&self.link, &self.keys).await?;
        // What Redis has lost is restored first: see `relied`.
        if !remembered.upholds(self.relied().as_ref()) {
            return Ok(None);
        }
        let mapping = remembered
            .record
            .map_or_else(|| self.mapping.clone(), |last| last.mapping);
        if mapping.is_empty() {
            return Ok(None);
        }
        let pass = Pass {
            migration: self,
            mapping,
            apply: true,
            grace_start: GraceStart::Never,
            pace: Pace::OneIn(SHARE),
        };
        let (report, _) = pass.run(&Silent).await?;
        Ok(Some(report))
    }
}
