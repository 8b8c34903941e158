//! What `migrate`, `check` and `keys` share: they work on Redis once and print a report.

use std::fmt::Display;

use serde::Serialize;

use super::{FAILED, USAGE, complain, report::ReportArgs, runtime};
use crate::{
    config::{Backend, Config},
    store::redis::{Redis, RedisStore},
    types::Tenant,
};

/// The parts of an error message that differ from command to command.
pub(super) struct Words {
    /// Says why the command can't run without Redis.
    pub(super) no_redis: &'static str,
    /// Says what the operator should know if the command failed half-way.
    pub(super) afterwards: &'static str,
}

/// Runs `work` on the configured store and prints its report. Probes the store first, which fails if a setting is at
/// fault.
///
/// # Errors
/// Returns the exit code of the failure, after printing what went wrong on stderr.
pub(super) fn report_of<T: Display + Serialize, E: Display>(
    (config, tenant): (Config, &Tenant),
    report: ReportArgs,
    words: &Words,
    work: impl AsyncFnOnce(RedisStore) -> Result<T, E>,
) -> Result<T, u8> {
    let done = on_redis((config, tenant), words, work).and_then(|done| match report.print(&done) {
        Ok(()) => Ok(done),
        Err(error) => Err((FAILED, format!("can't print the report: {error}"))),
    });
    done.map_err(|(code, message)| {
        complain(&message);
        code
    })
}

/// Says that the tenant's name is probably wrong, and returns the exit code.
pub(super) fn misnamed(tenant: &str) -> u8 {
    complain(&format!(
        "tenant: nothing is stored under {tenant}; see the report for the tenants that hold data"
    ));
    FAILED
}

/// Runs `work` on the store of `tenant`. Probes the store first.
///
/// # Errors
/// Returns the exit code, and what to tell the operator.
pub(super) fn on_redis<T, E: Display>(
    (config, tenant): (Config, &Tenant),
    words: &Words,
    work: impl AsyncFnOnce(RedisStore) -> Result<T, E>,
) -> Result<T, (u8, String)> {
    if config.backend != Backend::Redis {
        return Err((USAGE, format!("backend: must be redis, {}", words.no_redis)));
    }
    let runtime = runtime().map_err(|error| (FAILED, format!("can't start: {error}")))?;
    runtime.block_on(async {
        let store = Redis::new(config.redis).tenant(tenant);
        store.probe().await.map_err(|error| match error.at_fault {
            Some(_) => (USAGE, store.explain(&error)),
            None => (FAILED, format!("Redis can't be reached: {error}")),
        })?;
        work(store)
            .await
            .map_err(|error| (FAILED, format!("{error}{}", words.afterwards)))
    })
}
