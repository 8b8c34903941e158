//! One pass over all keys of the tenant.

use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt, try_unfold};
use tokio::time::{Instant, sleep};

use super::{
    LegacyMapping, Migration,
    completed::Remembered,
    find::{Batch, Finder, GraceStart},
    indexes::Expiry,
    progress::{MigrationProgress, Progress},
    report::{Outcome, Reason, Report},
    settle::{Settled, Settler},
};
use crate::store::{
    Error,
    redis::{keyspace::Key, link::topology::ServerSet, maintenance::rounds::Rounds},
};

/// The longest time that one batch is assumed to take of Redis.
const LONGEST: Duration = Duration::from_millis(250);
/// How many batches are on the way at once at full pace. While Redis works on one, the next is decided on.
const WINDOW: usize = 3;

/// How much of Redis' time a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As much as it can get.
    Full,
    /// One part in this many. The pass rests after each batch.
    OneIn(u32),
}

/// A pass and its rules.
pub struct Pass<'a> {
    /// Whose data.
    pub migration: &'a Migration,
    /// Which provider each protocol type stands for.
    pub mapping: LegacyMapping,
    /// Whether anything is changed.
    pub apply: bool,
    /// When the grace period begins.
    pub grace_start: GraceStart,
    /// How much of Redis' time the pass takes.
    pub pace: Pace,
}

/// What a pass found, and the servers on which it found that.
pub type Findings = (Report, ServerSet);

impl<'a> Pass<'a> {
    /// A pass at full pace. What is `remembered` of the last migration decides the mapping, and when the grace period
    /// begins. If Redis lost what this broker relied on, that decides instead.
    pub fn new(migration: &'a Migration, remembered: &Remembered, apply: bool) -> Self {
        let relied = migration.relied();
        let lost = relied.filter(|relied| !remembered.upholds(Some(relied)));
        let configured = &migration.mapping;
        let (mapping, grace_start) = match (lost, &remembered.record) {
            // Brokers may have written since, so that data alone tells nothing.
            (Some(lost), _) if lost.mapping.is_empty() && !lost.grace_period => {
                (lost.mapping, GraceStart::WithOthersData)
            }
            (Some(lost), _) => (lost.mapping, GraceStart::AtOnce),
            (None, Some(record)) => {
                let mapping = if configured.is_empty() {
                    &record.mapping
                } else {
                    configured
                };
                let start = if remembered.covers(configured) {
                    GraceStart::Never
                } else {
                    GraceStart::AtOnce
                };
                (mapping.clone(), start)
            }
            (None, None) if configured.is_empty() => (configured.clone(), GraceStart::WithData),
            (None, None) => (configured.clone(), GraceStart::AtOnce),
        };
        Self {
            migration,
            mapping,
            apply,
            grace_start,
            pace: Pace::Full,
        }
    }

    /// Goes through all keys, and again if servers changed meanwhile (see [`Rounds`]). It is safe to drop the future at
    /// any point.
    ///
    /// # Errors
    /// [`Error::Unavailable`]. What was done until then stays done.
    pub async fn run(&self, progress: &dyn Progress<MigrationProgress>) -> Result<Findings, Error> {
        let mut rounds = Rounds::new(&self.migration.link);
        let mut earlier = None::<Report>;
        loop {
            let server_set = rounds.begin().await?;
            let mut report = Report::new(&self.mapping, !self.apply);
            let outcome = self.once(server_set, &mut report, progress).await;
            // The report tells what an earlier round changed, although this round looked at it again.
            if let Some(earlier) = earlier.take() {
                report = report.after(&earlier);
            }
            if let Some(server_set) = rounds.end(outcome).await? {
                return Ok((report, server_set));
            }
            earlier = Some(report);
        }
    }

    /// Goes through all keys on `server_set` once, and notes what becomes of each.
    async fn once(
        &self,
        server_set: ServerSet,
        report: &mut Report,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let Migration { link, keys, .. } = self.migration;
        let (mapping, apply) = (&self.mapping, self.apply);
        let finder = Finder::new(link, server_set, keys, mapping, self.grace_start, apply).await?;
        let settler = Settler {
            migration: self.migration,
            mapping,
            apply,
        };
        let found = try_unfold(finder, |mut finder| async move {
            let batch = finder.next().await?;
            Ok::<_, Error>(batch.map(|batch| (batch, finder)))
        });
        let window = match self.pace {
            Pace::Full => WINDOW,
            Pace::OneIn(_) => 1,
        };
        let mut settled = found
            .map_ok(|mut batch: Batch| async move {
                let candidates = std::mem::take(&mut batch.candidates);
                let indexes = batch.user_indexes.iter().map(Key::as_str);
                self.migration
                    .settle_these_indexes(indexes, Expiry::None)
                    .await?;
                Ok::<_, Error>((batch, settler.settle(candidates).await?))
            })
            .try_buffer_unordered(window)
            .boxed();

        let mut now = MigrationProgress::default();
        loop {
            let working = Instant::now();
            let Some((batch, outcomes)) = settled.try_next().await? else {
                break;
            };
            note(report, &batch, &outcomes);
            // A batch may overtake another.
            let walked = &mut now.walked;
            walked.scanned = walked.scanned.max(batch.scanned);
            walked.done = walked.done.max(batch.done);
            walked.elapsed = begun.elapsed();
            now.count(report);
            progress.update(&now);
            self.rest(working.elapsed()).await;
        }
        progress.end();
        report.sort();
        Ok(())
    }

    /// Rests after work that took `worked`, as long as the pace asks for.
    async fn rest(&self, worked: Duration) {
        match self.pace {
            Pace::Full => {}
            // A batch that took longer waited for a new primary, and didn't take Redis' time.
            Pace::OneIn(parts) => sleep(worked.min(LONGEST) * (parts - 1)).await,
        }
    }
}

/// Notes what became of a batch.
fn note(report: &mut Report, batch: &Batch, outcomes: &Settled) {
    report.grace_period |= batch.grace_period;
    report.is_empty &= !batch.has_data;
    for found in &batch.without_id {
        let outcome = Outcome::Failed(Reason::KeyIsNoId);
        report.note(found.is_row, &found.key, &outcome);
    }
    for (candidate, outcome) in outcomes {
        report.note(candidate.is_row(), &candidate.key, outcome);
    }
}
