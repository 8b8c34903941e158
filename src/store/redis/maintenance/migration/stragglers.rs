//! Stragglers: older data that an old replica writes during a rolling upgrade (guarantees, section 5, M7).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Migration,
    completed::CompletedMigration,
    find::GraceStart,
    pass::{Pace, Pass},
    progress::Silent,
    report::Report,
};
use crate::store::{
    Error,
    redis::maintenance::{grace, lease::Lease},
};

/// A sweep takes one part in this many of Redis' time.
pub const SHARE: u32 = 20;

impl Migration {
    /// Looks for stragglers each time that `every` is over, while the tenant is in its grace period. One broker at a
    /// time does so. Never returns; it is safe to drop the future at any point.
    ///
    /// A straggler waits at most for `every`, a fifth more, and the time of one pass. With 30 s it is migrated within a
    /// minute, if a pass takes 24 s or less. A page of 1,000 keys takes Redis 1 to 3 ms, and the rest after it takes
    /// 19 times as long, so a pass of 24 s covers about half a million keys.
    pub async fn watch_stragglers(&self, every: Duration) {
        let mut failed = 0;
        loop {
            // Random, so that the brokers don't all ask at once. Short, so that a sweep follows the last one soon.
            sleep(every.mul_f64(rand::random_range(0.15..0.25))).await;
            match self.sweep(every).await {
                Ok(Some(report)) => {
                    let now = report.rows.failed + report.identities.failed;
                    let changed = report.rows.changed() + report.identities.changed();
                    if changed > 0 || now != failed {
                        report.log();
                    }
                    failed = now;
                }
                Ok(None) => {}
                Err(error) => {
                    let reason = error.detail();
                    tracing::warn!(reason, "could not look for older data");
                }
            }
        }
    }

    /// Looks for stragglers once. For `every` from its beginning no broker does so again. Returns `None` if there is
    /// nothing to do: the grace period is over, nothing is mapped, or another broker looked less than `every` ago.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn sweep(&self, every: Duration) -> Result<Option<Report>, Error> {
        let begun = Instant::now();
        if !grace::is_open(&self.link, &self.keys).await? {
            return Ok(None);
        }
        let lease = self.keys.sweep_lease();
        let lease = Lease::take(&self.link, &self.scripts, lease, self.lease).await?;
        let Some(mut lease) = lease else {
            return Ok(None);
        };
        // The last completed mapping counts, even where this broker is still configured with an earlier one.
        let completed = CompletedMigration::read(&self.link, &self.keys).await?;
        let mapping = completed.map_or_else(|| self.mapping.clone(), |last| last.mapping);
        let mut report = None;
        if !mapping.is_empty() {
            let pass = Pass {
                migration: self,
                mapping,
                apply: true,
                grace_start: GraceStart::Never,
                pace: Pace::OneIn(SHARE),
            };
            let found = pass.run(Some(&mut lease), &Silent).await?;
            report = found.map(|(report, _)| report);
        }
        lease
            .leave_for(every.saturating_sub(begun.elapsed()))
            .await?;
        Ok(report)
    }
}
