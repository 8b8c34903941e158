//! The preparation of a broker on Redis, before it serves. Both steps wait for Redis without a limit, so
//! that brokers and Redis may start in any order. A broker that serves prepares again when Redis has lost what it relies
//! on.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::ServeError;
use crate::{
    rpc::Admission,
    store::{
        Error, FullStore, Health, Sealing,
        redis::{
            RedisStore,
            maintenance::migration::{Migration, progress},
        },
    },
    tokens::Tokens,
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

/// Checks that the tenant isn't in its grace period, if its rows are sealed. Waits for Redis.
///
/// # Errors
/// Returns [`ServeError::SealedInGrace`].
pub(super) async fn may_seal(store: &RedisStore, sealing: &Sealing) -> Result<(), ServeError> {
    if sealing.keys.ring().sealing().is_none() {
        return Ok(());
    }
    loop {
        match store.is_in_grace().await {
            Ok(false) => return Ok(()),
            Ok(true) => return Err(ServeError::SealedInGrace),
            Err(error) => tracing::warn!(reason = error.detail(), "the start waits: {error}"),
        }
        sleep(PAUSE).await;
    }
}

/// Looks for the stragglers of older software for ever, and migrates again whenever Redis has lost what the broker
/// relies on. Meanwhile `admission` refuses all calls, as before the first migration.
///
/// # Errors
/// Returns [`ServeError::Unmigrated`], like [`migrate`], and [`ServeError::SealedInGrace`] if a grace period has begun.
pub(super) async fn stay_migrated(
    (store, sealing): (&RedisStore, &Sealing),
    migration: &Migration,
    admission: &Admission,
    legacy_sweep_interval: Duration,
    allow_unmigrated: bool,
) -> Result<(), ServeError> {
    loop {
        tokio::select! {
            () = migration.watch_stragglers(legacy_sweep_interval) => {}
            () = migration.lost() => {}
        }
        admission.close();
        migrate(migration, allow_unmigrated).await?;
        may_seal(store, sealing).await?;
        admission.open();
        tracing::info!("migrated again: calls are admitted");
    }
}

/// A store that is ready only while calls are admitted.
pub(super) struct WhileOpen<S> {
    pub(super) tokens: Arc<Tokens<S>>,
    pub(super) admission: Admission,
}

impl<S: FullStore> Health for WhileOpen<S> {
    async fn ready(&self) -> Result<(), Error> {
        if !self.admission.is_open() {
            return Err(Error::unavailable("the data is being migrated again"));
        }
        self.tokens.backend().ready().await
    }
}
