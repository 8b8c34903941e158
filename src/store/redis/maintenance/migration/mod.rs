//! Bringing in the data of older auth servers (guarantees, section 5).
//!
//! In a `pass` a `finder` goes through the tenant's keys; `candidate` tells which of them are older
//! data. A `worker` reads the values of many at once, `row` and `identity` decide what is to be done,
//! as functions of bytes, and a `step` does it: a script that acts only if the values are still those
//! that the decision was made on. So each piece goes in one atomic step, whoever else writes, also a
//! second migration; and a dry run is the same with scripts that only look.
//!
//! `lease` keeps brokers from doing the same work, `record` spares later starts the scan, and
//! `stragglers` looks after what old replicas write in the grace period.

mod candidate;
mod finder;
mod identity;

mod lease;
mod mapping;
mod outcome;
mod pass;
pub mod progress;
mod record;
mod report;
mod row;
pub(super) mod step;
mod stragglers;
mod worker;

use std::time::Duration;

use tokio::time::sleep;

pub use mapping::{LegacyMapping, MappingError, Meaning};
pub use report::{Counts, Entry, Report};
pub use stragglers::SHARE;

use self::{
    finder::Grace,
    lease::Lease,
    pass::{Pace, Pass},
    progress::{MigrationProgress, Progress},
    record::Record,
};
use super::{grace, scan::Scan};
use crate::{
    error::Error,
    store::redis::{
        RedisStore,
        keyspace::Keyspace,
        link::{Effect, Link},
        scripts::{Call, Scripts},
    },
};

/// How long each request waits for a new primary.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a broker that died keeps the others from taking over.
const LEASE: Duration = Duration::from_secs(10);

/// Brings in a tenant's older data.
#[derive(Debug)]
pub struct Migration {
    link: Link,
    keys: Keyspace,
    scripts: Scripts,
    mapping: LegacyMapping,
    lease: Duration,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To migrate.
    Migrate,
    /// To end the grace period after it.
    Finish {
        /// Even if something can't be migrated.
        allow_unmigrated: bool,
    },
}

impl Migration {
    /// A migration of the tenant of `store`, under the configured mapping. Where none is
    /// configured, that of the last completed migration counts.
    #[must_use]
    pub fn new(store: &RedisStore, mapping: LegacyMapping) -> Self {
        Self {
            link: store.link.patient(PATIENCE),
            keys: store.keys.clone(),
            scripts: store.scripts.clone(),
            mapping,
            lease: LEASE,
        }
    }

    /// With leases that run out after `lease`: how long a broker that died keeps the others from
    /// taking over. 10 s by default.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sees to it that the older data is migrated, by this broker or another, before anything is
    /// served. `None`: it had been, which costs one read to find out.
    ///
    /// The report may name failures. Then the broker must not serve, unless it is told to (M6), and
    /// the next start tries again.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], as for the other methods. To call it again goes on where it
    /// ended.
    pub async fn ensure_migrated(
        &self,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Option<Report>, Error> {
        let mut waits = false;
        loop {
            if self.is_covered().await? {
                return Ok(None);
            }
            let Some(lease) = self.try_lease().await? else {
                self.wait(&mut waits, progress).await;
                continue;
            };
            // It may have been completed between the question and the lease.
            if self.is_covered().await? {
                lease.release().await?;
                return Ok(None);
            }
            if let Some(report) = self.work(lease, Purpose::Migrate, progress).await? {
                return Ok(Some(report));
            }
        }
    }

    /// Migrates, also what had been migrated before.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn run(&self, progress: &dyn Progress<MigrationProgress>) -> Result<Report, Error> {
        self.lead(Purpose::Migrate, progress).await
    }

    /// Migrates what is left and ends the grace period: from now on no other software writes to the
    /// tenant. Where something can't be migrated it doesn't end, unless `allow_unmigrated`; the
    /// report's [`Report::grace_period`] tells.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn finish(
        &self,
        allow_unmigrated: bool,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        self.lead(Purpose::Finish { allow_unmigrated }, progress)
            .await
    }

    /// Changes nothing, and reports what [`Migration::run`] would.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn dry_run(
        &self,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        let record = Record::read(&self.link, &self.keys).await?;
        let mapping = self.effective_mapping(record.as_ref());
        let pass = Pass {
            migration: self,
            mapping: &mapping,
            apply: false,
            grace: self.grace(record.as_ref()),
            pace: Pace::Full,
        };
        let found = pass.run(None, progress).await?;
        found
            .map(|(report, _)| report)
            .ok_or_else(|| Error::store_unavailable("the dry run was interrupted"))
    }

    async fn lead(
        &self,
        purpose: Purpose,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        let mut waits = false;
        loop {
            let Some(lease) = self.try_lease().await? else {
                self.wait(&mut waits, progress).await;
                continue;
            };
            if let Some(report) = self.work(lease, purpose, progress).await? {
                return Ok(report);
            }
        }
    }

    /// `None` if the lease was lost on the way, because another broker took over, or another server did: it is to be
    /// done again.
    async fn work(
        &self,
        mut lease: Lease<'_>,
        purpose: Purpose,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Option<Report>, Error> {
        let record = Record::read(&self.link, &self.keys).await?;
        let mapping = self.effective_mapping(record.as_ref());
        let pass = Pass {
            migration: self,
            mapping: &mapping,
            apply: true,
            grace: self.grace(record.as_ref()),
            pace: Pace::Full,
        };
        let found = match pass.run(Some(&mut lease), progress).await {
            Ok(found) => found,
            Err(error) => {
                // If Redis can still be told, nobody has to wait for the lease to run out.
                _ = lease.release().await;
                return Err(error);
            }
        };
        let Some((mut report, server_set)) = found else {
            return Ok(None);
        };
        let finish = match purpose {
            Purpose::Migrate => false,
            Purpose::Finish { allow_unmigrated } => allow_unmigrated || report.is_complete(),
        };
        if finish || report.is_complete() {
            let finished = finish || record.is_some_and(|r| r.finished && r.covers(&mapping));
            let record = Record::new(&mapping, finished);
            record.write(&self.link, &self.keys).await?;
            // A server that took over before the record was written may lack what the record vouches for.
            if self.link.server_set().await? != server_set {
                record::forget(&self.link, &self.keys).await?;
                lease.release().await?;
                return Ok(None);
            }
        }
        if finish {
            grace::end(&self.link, &self.keys).await?;
            self.expire_indexes().await?;
            report.grace_period = false;
        }
        report.log();
        lease.release().await?;
        Ok(Some(report))
    }

    async fn is_covered(&self) -> Result<bool, Error> {
        let record = Record::read(&self.link, &self.keys).await?;
        Ok(record.is_some_and(|record| record.covers(&self.mapping)))
    }

    async fn try_lease(&self) -> Result<Option<Lease<'_>>, Error> {
        let key = self.keys.migration_lease();
        Lease::take(&self.link, &self.scripts, key, self.lease).await
    }

    async fn wait(&self, waits: &mut bool, progress: &dyn Progress<MigrationProgress>) {
        if !std::mem::replace(waits, true) {
            progress.waiting("waiting for another broker that migrates");
        }
        let millis = rand::random_range(100..250);
        sleep(Duration::from_millis(millis)).await;
    }

    fn effective_mapping(&self, record: Option<&Record>) -> LegacyMapping {
        match record {
            Some(record) if self.mapping.is_empty() => record.mapping.clone(),
            _ => self.mapping.clone(),
        }
    }

    fn grace(&self, record: Option<&Record>) -> Grace {
        match record {
            Some(record) if record.covers(&self.mapping) => Grace::Keep,
            None if self.mapping.is_empty() => Grace::WithData,
            _ => Grace::Begin,
        }
    }

    /// Gives the users' indexes their expiry back, which they had none of in the grace period.
    async fn expire_indexes(&self) -> Result<(), Error> {
        let grace = self.keys.grace();
        let mut scan = Scan::new(&self.link, self.keys.user_index_pattern());
        while let Some(page) = scan.page().await? {
            let indexes: Vec<_> = page
                .iter()
                .filter_map(|key| str::from_utf8(key).ok())
                .collect();
            let calls: Vec<_> = indexes
                .into_iter()
                .map(|index| Call {
                    script: &self.scripts.expire_index,
                    keys: vec![index, &grace],
                    args: vec![self.keys.prefix().as_bytes()],
                })
                .collect();
            self.link.call_each(&calls, Effect::Guarded).await?;
        }
        Ok(())
    }
}
