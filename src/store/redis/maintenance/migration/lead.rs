//! Leading: of all brokers that could migrate a tenant one does, and the others wait for it.

use std::time::Duration;

use super::{
    Migration,
    completed::{CompletedMigration, Remembered},
    find::GraceStart,
    indexes::Expiry,
    pass::Pass,
    progress::{MigrationProgress, Progress},
    report::Report,
    waiting::Waiting,
};
use crate::store::{
    Error,
    redis::{
        keyspace::Key,
        maintenance::lease::{Held, Lease},
    },
};

/// What a broker leads for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To migrate.
    Migrate,
    /// To begin the grace period, and to migrate.
    BeginGrace,
    /// To end the grace period after migrating what is left.
    Finish {
        /// Whether the period ends even if something can't be migrated.
        allow_unmigrated: bool,
    },
}

/// What came of working under the lease.
enum Worked {
    /// All is done.
    Done(Report),
    /// Everything has to be looked at again, because another broker took the lease, or another server took over. The
    /// report tells what was changed until then, as far as that is known.
    Again(Option<Report>),
}

impl Migration {
    /// Waits for the lease, and works.
    pub(super) async fn lead(
        &self,
        purpose: Purpose,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        let mut waiting = self.waiting();
        let mut earlier = None;
        loop {
            let lease = match self.try_lease().await? {
                Ok(lease) => lease,
                Err(held) => {
                    waiting.wait(held, progress).await;
                    continue;
                }
            };
            match self.work(lease, purpose, earlier, progress).await? {
                Worked::Done(report) => return Ok(report),
                Worked::Again(report) => earlier = report,
            }
        }
    }

    /// Waits for the lease and migrates, or returns `None` as soon as there is nothing to do.
    pub(super) async fn lead_if_needed(
        &self,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Option<Report>, Error> {
        let mut waiting = self.waiting();
        let mut earlier = None;
        loop {
            if self.rely_if_covered().await? {
                return Ok(None);
            }
            let lease = match self.try_lease().await? {
                Ok(lease) => lease,
                Err(held) => {
                    waiting.wait(held, progress).await;
                    continue;
                }
            };
            // Another broker may have completed the migration before this one took the lease.
            if self.rely_if_covered().await? {
                lease.give_up().await;
                return Ok(None);
            }
            let worked = self.work(lease, Purpose::Migrate, earlier, progress);
            match worked.await? {
                Worked::Done(report) => return Ok(Some(report)),
                Worked::Again(report) => earlier = report,
            }
        }
    }

    /// Works under the lease, and gives it up. The report tells what was changed `earlier`, too.
    async fn work(
        &self,
        lease: Lease,
        purpose: Purpose,
        earlier: Option<Report>,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Worked, Error> {
        let work = self.work_under(&lease, purpose, earlier.as_ref(), progress);
        let worked = lease.during(work).await;
        lease.give_up().await;
        worked.unwrap_or(Ok(Worked::Again(earlier)))
    }

    async fn work_under(
        &self,
        lease: &Lease,
        purpose: Purpose,
        earlier: Option<&Report>,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Worked, Error> {
        let remembered = Remembered::read(&self.link, &self.keys).await?;
        let relied = self.relied();
        let is_lost = relied.is_some() && !remembered.upholds(relied.as_ref());
        let mut pass = Pass::new(self, &remembered, true);
        if purpose == Purpose::BeginGrace {
            pass.grace_start = GraceStart::AtOnce;
        }
        let (mut report, server_set) = pass.run(progress).await?;
        if let Some(earlier) = earlier {
            report = report.after(earlier);
        }
        let finish = match purpose {
            Purpose::Migrate | Purpose::BeginGrace => false,
            Purpose::Finish { allow_unmigrated } => allow_unmigrated || report.is_complete(),
        };
        // Indexes that were written before the period began have an end. A pass at whose beginning it began has settled
        // them.
        let may_have_begun = match pass.grace_start {
            GraceStart::Never | GraceStart::AtOnce => false,
            GraceStart::WithData | GraceStart::WithOthersData => true,
        };
        if may_have_begun && report.grace_period && !finish {
            self.settle_indexes(Expiry::None).await?;
        }
        let mut record = remembered.record;
        if finish || report.is_complete() {
            let Some(mark) = lease.mark().await? else {
                return Ok(Worked::Again(Some(report)));
            };
            // A server that took over before the mark was set may lack some of what was migrated. One that takes
            // over later lacks the mark too.
            if self.link.server_set().await? != server_set {
                return Ok(Worked::Again(Some(report)));
            }
            let grace_period = report.grace_period && !finish;
            let earlier = || record.iter().chain(&relied);
            let was_finished = earlier().any(|e| e.finished && e.mapping == pass.mapping);
            let finished = finish || was_finished && !grace_period;
            let last = earlier().map(|e| e.number).max().unwrap_or_default();
            let completed = CompletedMigration::new(&pass.mapping, finished, grace_period, last);
            if !completed.write(self, lease, &mark, finish).await? {
                return Ok(Worked::Again(Some(report)));
            }
            report.grace_period = grace_period;
            record = Some(completed);
        }
        self.rely_on(record);
        // While there was no record, users' indexes had no end.
        if finish || is_lost && !report.grace_period {
            self.settle_indexes(Expiry::OfRows).await?;
        }
        report.log();
        Ok(Worked::Done(report))
    }

    /// Returns whether a completed migration leaves nothing to do. If so, this broker relies on it from now on.
    async fn rely_if_covered(&self) -> Result<bool, Error> {
        let remembered = Remembered::read(&self.link, &self.keys).await?;
        let is_covered = match self.relied() {
            Some(relied) => remembered.upholds(Some(&relied)),
            None => remembered.covers(&self.mapping),
        };
        if is_covered {
            self.rely_on(remembered.record);
        }
        Ok(is_covered)
    }

    async fn try_lease(&self) -> Result<Result<Lease, Held>, Error> {
        let key = self.keys.migration_lease();
        self.take_lease(key, Duration::ZERO).await
    }

    fn waiting(&self) -> Waiting {
        Waiting::new(self.keys.migration_lease(), self.lease)
    }

    /// Takes a lease that brokers leave for `rest` at most.
    pub(super) async fn take_lease(
        &self,
        key: Key,
        rest: Duration,
    ) -> Result<Result<Lease, Held>, Error> {
        let (link, scripts) = (&self.link, &self.scripts);
        Lease::take(link, scripts, key, self.lease, rest, &self.given_up).await
    }
}
