//! `token-broker serve`.

use std::{convert::Infallible, future::Future, sync::Arc};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{DONE, FAILED, REFUSED, complain};
use crate::{
    config::{Backend, Config},
    server::{ServeError, Server},
    store::{MemoryStore, Store, redis::RedisStore},
    tokens::Tokens,
};

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(config: Config) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> u8 {
    let listener = match TcpListener::bind(config.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            complain(&format!(
                "listen: can't serve on {}: {error}",
                config.listen
            ));
            return FAILED;
        }
    };
    let stop = match terminated() {
        Ok(stop) => stop,
        Err(error) => {
            complain(&format!("can't wait for signals: {error}"));
            return FAILED;
        }
    };
    let address = listener.local_addr().unwrap_or(config.listen);
    if !address.ip().is_loopback() {
        tracing::warn!(
            "insecure-allow-remote: plain text, and any caller that gets here is served"
        );
    }
    let outcome = match config.backend {
        Backend::Memory => {
            tracing::warn!("tokens are kept in memory: they are gone when this process ends");
            tracing::info!(%address, backend = MemoryStore::NAME, tenant = %config.tenant, "serving");
            let tokens = Arc::new(Tokens::new(MemoryStore::new(), config.policy));
            let prepare = async { Ok::<(), Infallible>(()) };
            Server::new(tokens, config.server)
                .run(listener, prepare, stop)
                .await
                .map_err(describe)
        }
        Backend::Redis => {
            tracing::info!(%address, backend = RedisStore::NAME, tenant = %config.tenant, "serving");
            let store = RedisStore::new(&config.tenant, config.redis.options());
            let tokens = Arc::new(Tokens::new(store, config.policy));
            let prepare = async { Ok::<(), Infallible>(()) };
            Server::new(tokens, config.server)
                .run(listener, prepare, stop)
                .await
                .map_err(describe)
        }
    };
    match outcome {
        Ok(()) => DONE,
        Err((code, message)) => {
            complain(&message);
            code
        }
    }
}

fn describe<E: std::fmt::Display>(error: ServeError<E>) -> (u8, String) {
    match error {
        ServeError::Prepare(error) => (REFUSED, error.to_string()),
        error => (FAILED, error.to_string()),
    }
}

/// Done when the process is told to end. From then on it isn't killed by these signals.
fn terminated() -> std::io::Result<impl Future<Output = ()>> {
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
