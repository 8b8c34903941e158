//! Leading: of all brokers that could migrate a tenant one does, and the others wait for it.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Migration,
    completed::CompletedMigration,
    pass::Pass,
    progress::{MigrationProgress, Progress},
    report::Report,
};
use crate::store::{
    Error,
    redis::{
        link::Effect,
        maintenance::{grace, lease::Lease, repeated, scan::Scan},
        scripts::Call,
    },
};

/// What a broker leads for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To migrate.
    Migrate,
    /// To end the grace period after migrating what is left.
    Finish {
        /// Whether the period ends even if something can't be migrated.
        allow_unmigrated: bool,
    },
}

impl Migration {
    /// Waits for the lease, and works.
    pub(super) async fn lead(
        &self,
        purpose: Purpose,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        let mut waits = false;
        loop {
            let Some(lease) = self.try_lease().await? else {
                wait(&mut waits, progress).await;
                continue;
            };
            if let Some(report) = self.work(lease, purpose, progress).await? {
                return Ok(report);
            }
        }
    }

    /// Waits for the lease and migrates, or returns `None` as soon as there is nothing to do.
    pub(super) async fn lead_if_needed(
        &self,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Option<Report>, Error> {
        let mut waits = false;
        loop {
            if self.is_covered().await? {
                return Ok(None);
            }
            let Some(lease) = self.try_lease().await? else {
                wait(&mut waits, progress).await;
                continue;
            };
            // Another broker may have completed the migration before this one took the lease.
            if self.is_covered().await? {
                lease.release().await?;
                return Ok(None);
            }
            if let Some(report) = self.work(lease, Purpose::Migrate, progress).await? {
                return Ok(Some(report));
            }
        }
    }

    /// Works under the lease. Returns `None` if everything has to be done again, because another broker took the
    /// lease, or another server took over.
    async fn work(
        &self,
        mut lease: Lease<'_>,
        purpose: Purpose,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Option<Report>, Error> {
        let completed = CompletedMigration::read(&self.link, &self.keys).await?;
        let pass = Pass::new(self, completed.as_ref(), true);
        let found = match pass.run(Some(&mut lease), progress).await {
            Ok(found) => found,
            Err(error) => {
                // Where Redis still answers, the other brokers needn't wait for the lease to run out.
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
            let was_finished = completed.is_some_and(|c| c.finished && c.covers(&pass.mapping));
            let completed = CompletedMigration::new(&pass.mapping, finish || was_finished);
            completed.write(&self.link, &self.keys).await?;
            // A server that took over before this was written may lack some of what was migrated.
            if self.link.server_set().await? != server_set {
                CompletedMigration::forget(&self.link, &self.keys).await?;
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

    /// Whether a completed migration leaves nothing to do.
    async fn is_covered(&self) -> Result<bool, Error> {
        let completed = CompletedMigration::read(&self.link, &self.keys).await?;
        Ok(completed.is_some_and(|completed| completed.covers(&self.mapping)))
    }

    async fn try_lease(&self) -> Result<Option<Lease<'_>>, Error> {
        let key = self.keys.migration_lease();
        Lease::take(&self.link, &self.scripts, key, self.lease).await
    }

    /// Gives the users' indexes an expiry again. In the grace period they have none.
    async fn expire_indexes(&self) -> Result<(), Error> {
        let grace = self.keys.grace();
        let mut scan = Scan::new(&self.link, self.keys.user_index_pattern());
        while let Some(page) = scan.page().await? {
            let indexes = page.iter().filter_map(|key| str::from_utf8(key).ok());
            let calls: Vec<_> = indexes
                .map(|index| Call {
                    script: &self.scripts.expire_index,
                    keys: vec![index, &grace],
                    args: vec![self.keys.prefix().as_bytes()],
                })
                .collect();
            repeated::call_each(&self.link, &calls, Effect::Writes).await?;
        }
        Ok(())
    }
}

/// Waits a moment for the broker that leads, and says so the first time.
async fn wait(waits: &mut bool, progress: &dyn Progress<MigrationProgress>) {
    if !std::mem::replace(waits, true) {
        progress.waiting("waiting for another broker that migrates");
    }
    let millis = rand::random_range(100..250);
    sleep(Duration::from_millis(millis)).await;
}
