//! `token-broker serve`.

use std::{
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

use super::{DONE, FAILED, REFUSED, USAGE, complain, runtime};
use crate::{
    config::{Backend, Config, ServerOptions},
    server::{ServeError, Server},
    store::{
        MemoryStore, Store,
        redis::{
            ConnectError, RedisStore,
            maintenance::migration::{Migration, progress},
        },
    },
    tokens::{Rules, Tokens},
};

/// How long to wait before Redis is asked again, when it can't be reached at the start.
const PAUSE: Duration = Duration::from_millis(250);

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
enum Unready {
    /// A setting doesn't fit what is found.
    #[error("{0}")]
    Misconfigured(ConnectError),
    /// Rows can't be migrated, and nobody said to start without them (guarantees, section 5, M6).
    #[error(
        "{0} rows or identities of older software can't be migrated, and no call would find them; \
         `token-broker migrate --dry-run` with the same settings names them, allow-unmigrated starts \
         without them"
    )]
    Unmigrated(usize),
}

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
            let server = assemble(MemoryStore::new(), config.rules, config.server, address);
            let ready = async { Ok::<(), Unready>(()) };
            server
                .run(listener, ready, pending(), stop)
                .await
                .map_err(describe)
        }
        Backend::Redis => {
            let store = RedisStore::new(&config.tenant, config.redis);
            let migration = Migration::new(&store, config.migration.legacy_provider);
            let server = assemble(store, config.rules, config.server, address);
            let tokens = server.tokens();
            let ready = async {
                probe(tokens.backend()).await?;
                migrate(&migration, config.migration.allow_unmigrated).await
            };
            let stragglers = migration.watch_stragglers(config.migration.legacy_sweep_interval);
            server
                .run(listener, ready, stragglers, stop)
                .await
                .map_err(describe)
        }
    }
}

fn assemble<S: Store>(
    store: S,
    rules: Rules,
    options: ServerOptions,
    address: SocketAddr,
) -> Server<S> {
    tracing::info!(%address, backend = S::NAME, tenant = %rules.tenant, "serving");
    Server::new(Arc::new(Tokens::new(store, rules)), options)
}

/// Looks whether the settings fit what is found. Waits for Redis as long as it takes.
async fn probe(store: &RedisStore) -> Result<(), Unready> {
    let mut last = None;
    loop {
        let error = match store.probe().await {
            Ok(()) => return Ok(()),
            Err(error) if error.setting.is_some() => return Err(Unready::Misconfigured(error)),
            Err(error) => error,
        };
        if last.as_ref() != Some(&error) {
            tracing::warn!(reason = error.found, "Redis can't be used yet");
            last = Some(error);
        }
        sleep(PAUSE).await;
    }
}

/// Brings in older data. Waits for Redis as long as it takes: brokers and Redis may start in any
/// order.
async fn migrate(migration: &Migration, allow_unmigrated: bool) -> Result<(), Unready> {
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
            Err(Unready::Unmigrated(report.failed.len()))
        }
        _ => Ok(()),
    }
}

fn describe(error: ServeError<Unready>) -> (u8, String) {
    match error {
        ServeError::Prepare(error @ Unready::Misconfigured(_)) => (USAGE, error.to_string()),
        ServeError::Prepare(error @ Unready::Unmigrated(_)) => (REFUSED, error.to_string()),
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
