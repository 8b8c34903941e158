//! One pass over all keys of the tenant.

use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt, try_unfold};
use tokio::time::{Instant, sleep};

use super::{
    LegacyMapping, Migration,
    candidate::{Candidate, Classifier},
    finder::{Batch, Finder, Grace},
    lease::Lease,
    outcome::{Outcome, Reason},
    progress::{MigrationProgress, Progress},
    report::Report,
    worker::Worker,
};
use crate::{
    error::Error,
    store::redis::{link::topology::ServerSet, maintenance::rounds::Rounds},
};

/// The longest that a batch is taken to work.
const LONGEST: Duration = Duration::from_millis(250);
/// How many batches are on the way at once at full pace: while Redis works on one, the next is
/// decided on.
const WINDOW: usize = 3;

/// How much of Redis' time a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All that it can get.
    Full,
    /// One part in this many: it rests after each batch.
    OneIn(u32),
}

/// A pass and its rules.
pub struct Pass<'a> {
    pub migration: &'a Migration,
    pub mapping: &'a LegacyMapping,
    /// Whether anything is changed.
    pub apply: bool,
    pub grace: Grace,
    pub pace: Pace,
}

/// A batch and what became of it.
type Settled = (Batch, Vec<(Candidate, Outcome)>);

/// What a pass found, and the servers that it is true of.
pub type Findings = (Report, ServerSet);

impl Pass<'_> {
    /// Goes through all keys, and again if servers changed meanwhile ([`Rounds`]). `None` if the lease was lost on
    /// the way.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`]. What was done until then stays done.
    pub async fn run(
        &self,
        mut lease: Option<&mut Lease<'_>>,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Option<Findings>, Error> {
        let mut rounds = Rounds::new(&self.migration.link);
        let mut earlier = None::<Report>;
        loop {
            rounds.begin().await?;
            let mut report = Report::new(self.mapping, !self.apply);
            let outcome = self.once(&mut report, lease.as_deref_mut(), progress).await;
            // What an earlier round changed was changed, though it has to be looked at again.
            if let Some(earlier) = earlier.take() {
                report = report.after(&earlier);
            }
            if matches!(outcome, Ok(false)) {
                return Ok(None);
            }
            if let Some(server_set) = rounds.end(outcome.map(drop)).await? {
                return Ok(Some((report, server_set)));
            }
            earlier = Some(report);
        }
    }

    /// Goes through all keys once and notes what becomes of each; `false` if the lease was lost on the way.
    async fn once(
        &self,
        report: &mut Report,
        mut lease: Option<&mut Lease<'_>>,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<bool, Error> {
        let begun = Instant::now();
        let Migration { link, keys, .. } = self.migration;
        let classifier = Classifier::new(keys, self.mapping);
        let finder = Finder::new(link, keys, classifier, self.grace, self.apply).await?;
        let worker = Worker {
            migration: self.migration,
            mapping: self.mapping,
            apply: self.apply,
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
                Ok::<Settled, Error>((batch, worker.settle(candidates).await?))
            })
            .try_buffer_unordered(window)
            .boxed();

        let mut now = MigrationProgress::default();
        loop {
            let working = Instant::now();
            let Some((batch, outcomes)) = settled.try_next().await? else {
                break;
            };
            report.grace_period |= batch.grace;
            for (key, is_row) in &batch.no_ids {
                report.note(*is_row, key, &Outcome::Failed(Reason::KeyIsNoId));
            }
            for (candidate, outcome) in &outcomes {
                report.note(candidate.is_row(), candidate.key(), outcome);
            }
            // Batches may overtake each other.
            let walked = &mut now.walked;
            walked.scanned = walked.scanned.max(batch.scanned);
            walked.done = walked.done.max(batch.done);
            walked.elapsed = begun.elapsed();
            now.count(report);
            progress.update(&now);
            if !self.rest(working.elapsed(), lease.as_deref_mut()).await? {
                return Ok(false);
            }
        }
        progress.end();
        report.sort();
        Ok(true)
    }

    /// Rests as the pace asks for after work that took `worked`, and keeps the lease meanwhile;
    /// `false` if it is lost.
    async fn rest(
        &self,
        worked: Duration,
        mut lease: Option<&mut Lease<'_>>,
    ) -> Result<bool, Error> {
        let mut rest = match self.pace {
            Pace::Full => Duration::ZERO,
            // A batch that waited for a primary didn't take Redis' time.
            Pace::OneIn(parts) => worked.min(LONGEST) * (parts - 1),
        };
        loop {
            if let Some(lease) = lease.as_deref_mut()
                && !lease.keep().await?
            {
                return Ok(false);
            }
            if rest.is_zero() {
                return Ok(true);
            }
            let nap = rest.min(Duration::from_secs(1));
            sleep(nap).await;
            rest -= nap;
        }
    }
}
