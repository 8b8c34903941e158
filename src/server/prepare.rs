//! What comes before a broker on Redis serves. Both steps wait for Redis as long as it takes: brokers
//! and Redis may start in any order.

use std::time::Duration;

use tokio::time::sleep;

use super::ServeError;
use crate::store::redis::{
    RedisStore,
    maintenance::migration::{Migration, progress},
};

/// How long to wait before Redis is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks whether the settings fit what is found.
///
/// # Errors
/// [`ServeError::Misconfigured`].
pub(super) async fn probe(store: &RedisStore) -> Result<(), ServeError> {
    let mut last = None;
    loop {
        let error = match store.probe().await {
            Ok(()) => return Ok(()),
            Err(error) if error.at_fault.is_some() => return Err(ServeError::Misconfigured(error)),
            Err(error) => error,
        };
        if last.as_ref() != Some(&error) {
            tracing::warn!(reason = error.found, "Redis can't be used yet");
            last = Some(error);
        }
        sleep(PAUSE).await;
    }
}

/// Brings in older data.
///
/// # Errors
/// [`ServeError::Unmigrated`], unless `allow_unmigrated`.
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
