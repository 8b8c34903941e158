//! One pass over all keys of the tenant.

use std::{collections::HashSet, time::Duration};

use sha1::{Digest, Sha1};
use tokio::time::{Instant, sleep};

use super::{
    LegacyMapping, Migration,
    batch::Batch,
    candidate::{Candidate, Classifier, Found},
    lease::Lease,
    outcome::{Outcome, Reason},
    progress::{Progress, Snapshot},
    record,
    report::Report,
    scan::Scan,
};
use crate::error::Error;

/// How many pieces of older data are on the way at once.
const BATCH: usize = 512;

/// Whether the pass begins the grace period (contract section 5, M7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// It stays as it is.
    Keep,
    /// It begins if the tenant holds any data.
    WithData,
    /// It begins.
    Begin,
}

/// How much of Redis' time a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All that it can get.
    Full,
    /// The part of 1 in this many: it rests between pages.
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

struct State<'a> {
    report: Report,
    /// A scan may find a key more than once, which must not count twice.
    seen: HashSet<u128>,
    scanned: u64,
    done: f64,
    begun: Instant,
    progress: &'a dyn Progress,
}

impl Pass<'_> {
    /// Goes through all keys; `None` if the lease was lost on the way.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`]. What was done until then stays done.
    pub async fn run(
        &self,
        mut lease: Option<&mut Lease<'_>>,
        progress: &dyn Progress,
    ) -> Result<Option<Report>, Error> {
        let Migration { pool, keys, .. } = self.migration;
        let classifier = Classifier::new(keys, self.mapping);
        let mut scan = Scan::new(pool, keys.pattern());
        let mut state = State {
            report: Report::new(self.mapping, !self.apply),
            seen: HashSet::new(),
            scanned: 0,
            done: 0.0,
            begun: Instant::now(),
            progress,
        };
        let mut open = Vec::new();
        let mut grace = record::is_grace(pool, keys).await?;
        if self.grace == Grace::Begin {
            grace = self.begin_grace().await?;
        }
        loop {
            let begun = Instant::now();
            let page = scan.page().await?;
            let is_last = page.is_none();
            for key in page.unwrap_or_default() {
                state.scanned += 1;
                // Before anything is migrated: writes that follow must know.
                if !grace && self.grace == Grace::WithData && classifier.is_data(&key) {
                    grace = self.begin_grace().await?;
                }
                open.extend(state.candidate(&classifier, &key));
            }
            state.done = scan.done();
            while open.len() >= BATCH || (is_last && !open.is_empty()) {
                let rest = open.split_off(open.len().min(BATCH));
                self.settle(std::mem::replace(&mut open, rest), &mut state)
                    .await?;
            }
            state.tell();
            if is_last {
                break;
            }
            if !self.rest(begun.elapsed(), lease.as_deref_mut()).await? {
                return Ok(None);
            }
        }
        progress.end();
        state.report.grace_period = grace;
        state.report.sort();
        Ok(Some(state.report))
    }

    async fn begin_grace(&self) -> Result<bool, Error> {
        if self.apply {
            record::begin_grace(&self.migration.pool, &self.migration.keys).await?;
        }
        Ok(true)
    }

    async fn settle(&self, batch: Vec<Candidate>, state: &mut State<'_>) -> Result<(), Error> {
        let work = Batch {
            migration: self.migration,
            mapping: self.mapping,
            apply: self.apply,
        };
        for (candidate, outcome) in work.settle(batch).await? {
            let report = &mut state.report;
            report.note(candidate.is_row(), candidate.key(), &outcome);
        }
        state.tell();
        Ok(())
    }

    /// Rests as the pace asks for after work that took `worked`, and keeps the lease meanwhile;
    /// `false` if it is lost.
    async fn rest(&self, worked: Duration, lease: Option<&mut Lease<'_>>) -> Result<bool, Error> {
        let mut rest = match self.pace {
            Pace::Full => Duration::ZERO,
            Pace::OneIn(parts) => worked * (parts - 1),
        };
        let Some(lease) = lease else {
            sleep(rest).await;
            return Ok(true);
        };
        loop {
            if !lease.keep().await? {
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

impl State<'_> {
    fn candidate(&mut self, classifier: &Classifier<'_>, key: &[u8]) -> Option<Candidate> {
        let found = classifier.find(key)?;
        let digest = Sha1::digest(key);
        let head = digest.iter().take(16);
        let id = head.fold(0, |id, &byte| id << 8 | u128::from(byte));
        if !self.seen.insert(id) {
            return None;
        }
        match found {
            Found::Candidate(candidate) => Some(candidate),
            Found::NoId { key, is_row } => {
                let outcome = Outcome::Failed(Reason::KeyIsNoId);
                self.report.note(is_row, &key, &outcome);
                None
            }
        }
    }

    fn tell(&self) {
        let (rows, identities) = (&self.report.rows, &self.report.identities);
        self.progress.update(&Snapshot {
            scanned: self.scanned,
            migrated: rows.changed() + identities.changed(),
            skipped: rows.skipped() + identities.skipped(),
            failed: rows.failed + identities.failed,
            done: self.done,
            elapsed: self.begun.elapsed(),
        });
    }
}
