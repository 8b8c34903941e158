//! Bringing in the data of older auth servers (guarantees, section 5).
//!
//! A piece of older data, a row or an identity, goes this way:
//!
//! 1. `pass` goes through all keys of the tenant, and notes what becomes of each piece.
//! 2. `find` tells which keys hold older data.
//! 3. `settle` reads the values of many pieces at once. When it is decided what is to be done with each, it calls
//!    the scripts that do it, for several pieces each (`step`). A script acts on a piece only if the values are still
//!    those that were read.
//! 4. `row` decides about one row, and `identity` about one identity. Both are functions of bytes.
//!
//! A dry run goes the same way, with scripts that only look.
//!
//! Which broker starts a pass, and when, is in four more files. `lead` lets one broker migrate while the others
//! wait. `completed` is what Redis remembers of a migration, and `relied` notices that it forgot. `stragglers` looks for
//! what old replicas write during the grace period.
//!
//! `copy` copies one identity when a login needs it before a pass does.
//!
//! `indexes` gives users' indexes the expiry that goes with the grace period.

mod completed;
mod copy;
mod find;
mod identity;
mod indexes;
mod lead;
mod mapping;
mod pass;
pub mod progress;
mod relied;
mod report;
mod row;
mod settle;
mod step;
mod stragglers;
mod waiting;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Semaphore;

pub(in crate::store::redis) use copy::copy_identity;
pub use mapping::{LegacyMapping, MappingError, Meaning};
pub use report::{Counts, Entry, Report};
pub use stragglers::SHARE;

use self::{
    completed::{CompletedMigration, Remembered},
    lead::Purpose,
    pass::Pass,
    progress::{MigrationProgress, Progress},
};
use crate::store::{
    Error, Sealing,
    redis::{
        RedisStore, keyspace::Keyspace, link::Link, maintenance::lease::GivenUp, scripts::Scripts,
    },
};

/// How long each request waits for a new primary. A failover must not end a long pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a broker that was killed keeps the others from taking over. A broker that ends otherwise gives its lease
/// up.
const LEASE: Duration = Duration::from_secs(5);

/// Brings in a tenant's older data.
#[derive(Debug)]
pub struct Migration {
    link: Link,
    keys: Keyspace,
    scripts: Scripts,
    mapping: LegacyMapping,
    sealing: Sealing,
    lease: Duration,
    steps_a_call: usize,
    given_up: GivenUp,
    turns: Arc<Semaphore>,
    relied: Mutex<Option<CompletedMigration>>,
    store: RedisStore,
}

impl Migration {
    /// A migration of the tenant of `store`, under the configured `mapping`. If that is empty, the mapping of the
    /// last completed migration counts. `sealing` opens sealed rows, and seals none.
    #[must_use]
    pub fn new(store: &RedisStore, mapping: LegacyMapping, sealing: Sealing) -> Self {
        if !mapping.is_empty() {
            store.note_older_layout(mapping.clone());
        }
        Self {
            store: store.clone(),
            link: store.link.patient(PATIENCE),
            keys: store.keys.clone(),
            scripts: store.redis.scripts().clone(),
            mapping,
            sealing: Sealing {
                // Older rows are plain, and so is what is made of them.
                require_sealed: false,
                ..sealing
            },
            lease: LEASE,
            steps_a_call: step::STEPS_A_CALL,
            given_up: GivenUp::default(),
            turns: Arc::clone(store.redis.sweeps()),
            relied: Mutex::default(),
        }
    }

    /// Sets how long a broker that was killed keeps the others from taking over. 5 s by default.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many rows a script may move in one call. 16 by default. Each row goes in a step of its own anyway. More
    /// rows in a call take Redis less time for each, and other clients wait longer for the call.
    #[must_use]
    pub fn with_rows_a_call(mut self, rows: usize) -> Self {
        self.steps_a_call = rows.max(1);
        self
    }

    /// Waits until the leases of work that was dropped are given up, for about a second at most. To be called before
    /// the process ends, so that the other brokers needn't wait for a lease to run out.
    pub async fn leases_given_up(&self) {
        self.given_up.done().await;
    }

    /// Waits until this broker or another has migrated the older data. To be called before anything is served.
    /// Returns `None` if it had been migrated before, which takes one read to find out. To be called again once
    /// [`Migration::lost`] returns.
    ///
    /// The report may name failures. Then the broker must not serve, unless it is configured to do so (M6), and the
    /// next start tries again.
    ///
    /// # Errors
    /// [`Error::Unavailable`], as for the other methods. Another call goes on where this one ended.
    pub async fn ensure_migrated(
        &self,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Option<Report>, Error> {
        self.lead_if_needed(progress).await
    }

    /// Whether migrating would begin a grace period that isn't there yet, because another mapping is configured than the last
    /// one. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn would_begin_grace(&self) -> Result<bool, Error> {
        let remembered = Remembered::read(&self.link, &self.keys).await?;
        let is_new = !self.mapping.is_empty() && !remembered.covers(&self.mapping);
        Ok(is_new && !remembered.is_marked)
    }

    /// Migrates, even if a migration was completed before.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn run(&self, progress: &dyn Progress<MigrationProgress>) -> Result<Report, Error> {
        self.lead(Purpose::Migrate, progress).await
    }

    /// Migrates what is left, and ends the grace period: from now on no other software writes to the tenant.
    ///
    /// If something can't be migrated, the period goes on, unless `allow_unmigrated`. [`Report::grace_period`] says
    /// which it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn finish(
        &self,
        allow_unmigrated: bool,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        self.lead(Purpose::Finish { allow_unmigrated }, progress)
            .await
    }

    /// Begins the grace period, because other software is going to write to a tenant that has none, and migrates.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn begin_grace(
        &self,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        self.lead(Purpose::BeginGrace, progress).await
    }

    /// Returns the report that [`Migration::run`] would return, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn dry_run(
        &self,
        progress: &dyn Progress<MigrationProgress>,
    ) -> Result<Report, Error> {
        let remembered = Remembered::read(&self.link, &self.keys).await?;
        let pass = Pass::new(self, &remembered, false);
        let (report, _) = pass.run(progress).await?;
        Ok(report)
    }
}
