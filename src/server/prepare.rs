//! The preparation of a broker on Redis, before it serves. Both steps wait for Redis without a limit, so
//! that brokers and Redis may start in any order. A broker that serves prepares again when Redis has lost what it relies
//! on.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::{ServeError, tenancy::Upkeep};
use crate::{
    config::MigrationSettings,
    store::{
        Error, Sealing,
        redis::{
            RedisStore,
            maintenance::migration::{Migration, progress},
        },
    },
};

/// How long to wait before trying Redis again.
const PAUSE: Duration = Duration::from_millis(250);

/// Checks that the settings fit the Redis that they name.
///
/// # Errors
/// Returns [`ServeError::Misconfigured`] if a setting is at fault.
pub(super) async fn probe(store: &RedisStore) -> Result<(), ServeError> {
    let mut last = None;
    loop {
        let error = match store.probe().await {
            Ok(()) => return Ok(()),
            Err(error) if error.at_fault.is_some() => {
                return Err(ServeError::Misconfigured(store.explain(&error)));
            }
            Err(error) => error,
        };
        if last.as_ref() != Some(&error) {
            tracing::warn!(reason = error.found, "Redis can't be used yet");
            last = Some(error);
        }
        sleep(PAUSE).await;
    }
}

/// Migrates the data of older software.
///
/// # Errors
/// Returns [`ServeError::Unmigrated`] if data can't be migrated, unless `allow_unmigrated` is set.
pub(super) async fn migrate(
    migration: &Migration,
    allow_unmigrated: bool,
) -> Result<(), ServeError> {
    let mut last = None;
    let report = loop {
        let progress = progress::on_stderr();
        let migrated = migration.ensure_migrated(progress.as_ref()).await;
        progress.end();
        let error = match migrated {
            Ok(report) => break report,
            Err(error) => error,
        };
        let reason = Some(error.detail().to_owned());
        if reason != last {
            tracing::warn!(reason, "the migration waits: {error}");
            last = reason;
        }
        sleep(PAUSE).await;
    };
    match report {
        Some(report) if !report.is_complete() && !allow_unmigrated => {
            Err(ServeError::Unmigrated(report.failed.len()))
        }
        _ => Ok(()),
    }
}

/// Checks that there is no grace period, if the tenant's rows are sealed. `ask` asks Redis, which this waits for.
///
/// # Errors
/// Returns [`ServeError::SealedInGrace`].
async fn may_seal<F>(sealing: &Sealing, ask: impl Fn() -> F) -> Result<(), ServeError>
where
    F: Future<Output = Result<bool, Error>>,
{
    if sealing.keys.ring().sealing().is_none() {
        return Ok(());
    }
    loop {
        match ask().await {
            Ok(false) => return Ok(()),
            Ok(true) => return Err(ServeError::SealedInGrace),
            Err(error) => tracing::warn!(reason = error.detail(), "the start waits: {error}"),
        }
        sleep(PAUSE).await;
    }
}

/// The upkeep of a tenant's data in Redis: the migration of what older software wrote. Rows are sealed only where no such
/// software is left.
pub(super) struct Migrated {
    store: RedisStore,
    migration: Migration,
    settings: MigrationSettings,
    sealing: Sealing,
}

impl Migrated {
    pub(super) fn new(store: &RedisStore, settings: MigrationSettings, sealing: Sealing) -> Self {
        let migration = Migration::new(store, settings.legacy_provider.clone(), sealing.clone());
        Self {
            store: store.clone(),
            migration,
            settings,
            sealing,
        }
    }
}

impl Upkeep for Migrated {
    fn prepare(&self) -> BoxFuture<'_, Result<(), ServeError>> {
        Box::pin(async {
            // Before anything is written: a grace period would stop the other brokers, too.
            may_seal(&self.sealing, || self.migration.would_begin_grace()).await?;
            migrate(&self.migration, self.settings.allow_unmigrated).await?;
            may_seal(&self.sealing, || self.store.is_in_grace()).await
        })
    }

    /// Looks for stragglers. Completes when Redis has lost what the broker relies on.
    fn stay(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let sweeping = self
                .migration
                .watch_stragglers(self.settings.legacy_sweep_interval);
            tokio::select! {
                () = sweeping => {}
                () = self.migration.lost() => {}
            }
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.migration.leases_given_up())
    }
}
