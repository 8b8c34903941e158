//! What commands have in common that speak to Redis and end.

use super::{FAILED, USAGE, runtime};
use crate::{
    config::{Backend, Config},
    error::Error,
    store::redis::RedisStore,
};

/// Why a command ends: its exit code, and what to tell.
pub(super) type Failure = (u8, String);

/// Runs `work` on the store that is configured, if its settings fit what is found. `no_redis` is told where
/// another backend is configured, `afterwards` where `work` fails.
pub(super) fn with_redis<T>(
    config: Config,
    no_redis: &str,
    afterwards: &str,
    work: impl AsyncFnOnce(RedisStore, Config) -> Result<T, Error>,
) -> Result<T, Failure> {
    if config.backend != Backend::Redis {
        return Err((USAGE, format!("backend: must be redis, {no_redis}")));
    }
    let runtime = runtime().map_err(|error| (FAILED, format!("can't start: {error}")))?;
    runtime.block_on(async {
        let store = RedisStore::new(&config.tenant, config.redis.clone());
        store.probe().await.map_err(|error| match error.setting {
            Some(_) => (USAGE, error.to_string()),
            None => (FAILED, format!("Redis can't be reached: {error}")),
        })?;
        work(store, config).await.map_err(|error| {
            let detail = error.operator_detail().unwrap_or_default();
            (FAILED, format!("{error}: {detail}{afterwards}"))
        })
    })
}
