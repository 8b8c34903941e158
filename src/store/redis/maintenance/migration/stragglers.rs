//! Older data that an old replica writes while a rolling upgrade is under way (guarantees, section 5,
//! M7).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Migration,
    finder::Grace,
    lease::Lease,
    pass::{Pace, Pass},
    progress::Silent,
    record::Record,
    report::Report,
};
use crate::{error::Error, store::redis::maintenance::grace};

/// A sweep takes one part in this many of Redis' time.
pub const SHARE: u32 = 20;

impl Migration {
    /// Looks for stragglers, `every` so often, as long as the tenant is in its grace period. Of all
    /// brokers that do, one at a time works. Never ends; dropping it is safe at any point.
    ///
    /// A straggler waits for `every`, a fifth more, and the time of one pass: with 30 s that is
    /// within a minute while a pass takes 24 s or less. A page of 1,000 keys takes Redis 1 to 3 ms, and
    /// the rest after it 19 times as long: that is half a million keys or so.
    pub async fn watch_stragglers(&self, every: Duration) {
        let mut failed = 0;
        loop {
            // Not all brokers at the same instant, and often enough to follow the last sweep soon.
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
                    let reason = error.operator_detail();
                    tracing::warn!(reason, "could not look for older data");
                }
            }
        }
    }

    /// Looks for stragglers once, and lets no broker do so again before `every` is over since it
    /// began. `None` if there is nothing to do: the grace period is over, nothing is mapped, or
    /// another broker looked less than `every` ago.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
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
        // What was completed last counts, also for a broker that was configured otherwise before.
        let record = Record::read(&self.link, &self.keys).await?;
        let mapping = record.map_or_else(|| self.mapping.clone(), |record| record.mapping);
        let mut report = None;
        if !mapping.is_empty() {
            let pass = Pass {
                migration: self,
                mapping: &mapping,
                apply: true,
                grace: Grace::Keep,
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
