//! What the commands share that work on Redis once, and print a report.

use std::fmt::Display;

use serde::Serialize;

use super::{FAILED, USAGE, complain, report::ReportArgs, runtime};
use crate::{
    config::{self, Backend, Config},
    store::{
        Error,
        redis::{Redis, RedisStore},
    },
};

/// How a command explains that it failed.
pub(super) struct Words {
    /// Why the command is of no use without Redis.
    pub(super) no_redis: &'static str,
    /// What the operator should know if it failed half-way.
    pub(super) afterwards: &'static str,
}

/// Runs `work` on the configured store, and prints its report. Before that it probes the store, which fails if a setting
/// is at fault.
///
/// # Errors
/// The exit code of a failure. What went wrong is on stderr by then.
pub(super) fn report_of<T: Display + Serialize>(
    config: Config,
    report: ReportArgs,
    words: &Words,
    work: impl AsyncFnOnce(RedisStore, Config) -> Result<T, Error>,
) -> Result<T, u8> {
    let done = on_redis(config, words, work).and_then(|done| match report.print(&done) {
        Ok(()) => Ok(done),
        Err(error) => Err((FAILED, format!("can't print the report: {error}"))),
    });
    done.map_err(|(code, message)| {
        complain(&message);
        code
    })
}

fn on_redis<T>(
    config: Config,
    words: &Words,
    work: impl AsyncFnOnce(RedisStore, Config) -> Result<T, Error>,
) -> Result<T, (u8, String)> {
    if config.backend != Backend::Redis {
        return Err((USAGE, format!("backend: must be redis, {}", words.no_redis)));
    }
    let runtime = runtime().map_err(|error| (FAILED, format!("can't start: {error}")))?;
    runtime.block_on(async {
        let store = Redis::new(config.redis.clone()).tenant(&config.tenant);
        store.probe().await.map_err(|error| match error.at_fault {
            Some(_) => (USAGE, config::explain(&error)),
            None => (FAILED, format!("Redis can't be reached: {error}")),
        })?;
        work(store, config)
            .await
            .map_err(|error| (FAILED, format!("{error}{}", words.afterwards)))
    })
}
