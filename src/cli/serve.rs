//! `token-broker serve`.

use std::{
    convert::Infallible,
    fmt::Display,
    future::{Future, pending},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use super::{DONE, FAILED, REFUSED, complain, runtime};
use crate::{
    config::{Backend, Config},
    server::{ServeError, Server, ServerOptions},
    store::{
        MemoryStore, Store,
        redis::{
            RedisStore,
            migration::{Migration, progress},
        },
    },
    tokens::{Policy, Tokens},
};

/// How long to wait before Redis is asked again, when it can't be reached at the start.
const PAUSE: Duration = Duration::from_millis(250);

/// Rows can't be migrated, and nobody said to start without them (contract section 5, M6).
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} rows or identities of older software can't be migrated, and no call would find them; \
     `token-broker migrate --dry-run` with the same settings names them, allow-unmigrated starts \
     without them"
)]
struct Unmigrated(usize);

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(config: Config) -> u8 {
    let outcome = match runtime() {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => Err((FAILED, format!("can't start: {error}"))),
    };
    match outcome {
        Ok(()) => DONE,
        Err((code, message)) => {
            complain(&message);
            code
        }
    }
}

async fn serve(config: Config) -> Result<(), (u8, String)> {
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        (
            FAILED,
            format!("listen: can't serve on {}: {error}", config.listen),
        )
    })?;
    let stop =
        terminated().map_err(|error| (FAILED, format!("can't wait for signals: {error}")))?;
    let address = listener.local_addr().unwrap_or(config.listen);
    if !address.ip().is_loopback() {
        tracing::warn!(
            "insecure-allow-remote: plain text, and any caller that gets here is served"
        );
    }
    match config.backend {
        Backend::Memory => {
            tracing::warn!("tokens are kept in memory: they are gone when this process ends");
            let server = assemble(MemoryStore::new(), config.policy, config.server, address);
            let ready = async { Ok::<(), Infallible>(()) };
            server
                .run(listener, ready, pending(), stop)
                .await
                .map_err(describe)
        }
        Backend::Redis => {
            let store = RedisStore::new(&config.tenant, config.redis.options());
            let migration = Migration::new(&store, config.legacy);
            let server = assemble(store, config.policy, config.server, address);
            let migrated = migrate(&migration, config.allow_unmigrated);
            let stragglers = migration.watch_stragglers(config.legacy_sweep_interval);
            server
                .run(listener, migrated, stragglers, stop)
                .await
                .map_err(describe)
        }
    }
}

fn assemble<S: Store>(
    store: S,
    policy: Policy,
    options: ServerOptions,
    address: SocketAddr,
) -> Server<S> {
    tracing::info!(%address, backend = S::NAME, tenant = %policy.tenant, "serving");
    Server::new(Arc::new(Tokens::new(store, policy)), options)
}

/// Brings in older data. Waits for Redis as long as it takes: brokers and Redis may start in any
/// order.
async fn migrate(migration: &Migration, allow_unmigrated: bool) -> Result<(), Unmigrated> {
    let mut last = None;
    let report = loop {
        let progress = progress::on_stderr();
        let migrated = migration.ensure_migrated(progress.as_ref()).await;
        progress.end();
        let error = match migrated {
            Ok(report) => break report,
            Err(error) => error,
        };
        let reason = error.operator_detail().map(str::to_owned);
        if reason != last {
            tracing::warn!(reason, "the migration waits: {error}");
            last = reason;
        }
        sleep(PAUSE).await;
    };
    match report {
        Some(report) if !report.is_complete() && !allow_unmigrated => {
            Err(Unmigrated(report.failed.len()))
        }
        _ => Ok(()),
    }
}

fn describe<E: Display>(error: ServeError<E>) -> (u8, String) {
    match error {
        ServeError::Prepare(error) => (REFUSED, error.to_string()),
        error => (FAILED, error.to_string()),
    }
}

/// Done when the process is told to end. From then on it isn't killed by these signals.
fn terminated() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
