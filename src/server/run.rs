//! Listens, serves and stops.

use std::{future::Future, net::SocketAddr};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{ServeError, Server, connections};
use crate::store::FullStore;

/// Listens on `address`. Warns if it isn't a loopback address.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| ServeError::Listen(address, error))?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            "insecure-allow-remote: calls are in plain text, and any caller that reaches the broker is served"
        );
    }
    Ok(listener)
}

/// Returns a future that completes when SIGTERM or SIGINT arrives. From this call on, these signals
/// don't kill the process.
pub(super) fn terminated() -> Result<impl Future<Output = ()>, ServeError> {
    let on = |kind| signal(kind).map_err(ServeError::Signals);
    let (mut terminate, mut interrupt) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl<S: FullStore> Server<S> {
    /// Serves on `listener` until `stop` completes, then finishes the calls in flight. Once `prepare`
    /// has succeeded, calls are admitted, health may become SERVING, and `alongside` runs too.
    ///
    /// # Errors
    /// Returns a [`ServeError`]. If `prepare` failed, no call was served.
    pub async fn run(
        self,
        listener: TcpListener,
        prepare: impl Future<Output = Result<(), ServeError>>,
        alongside: impl Future<Output = ()>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let address = listener.local_addr().ok().map(tracing::field::display);
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(version, address, backend = S::NAME, tenant = %self.tenant, "serving");
        self.health.begin().await;
        let (end, ended) = oneshot::channel::<()>();
        let incoming = connections::accept(listener, self.options);
        let serving = self
            .router()?
            .serve_with_incoming_shutdown(incoming, async {
                ended.await.ok();
            });
        tokio::pin!(serving, stop);

        let watching = async {
            prepare.await?;
            self.admission.open();
            let (never, ()) = tokio::join!(self.health.follow(self.tokens.backend()), alongside);
            match never {}
        };
        tokio::select! {
            () = &mut stop => {}
            served = &mut serving => return served.map_err(ServeError::Transport),
            watched = watching => return watched,
        }

        let grace = Instant::now() + self.options.shutdown_grace;
        tracing::info!(calls = self.admission.in_flight(), "stopping");
        // Clients that watch the health learn of the end before their streams end.
        self.health.stop().await;
        self.stopping.begin();
        end.send(()).ok();
        let drained = async { tokio::join!(serving, self.admission.drain()).0 };
        match timeout_at(grace, drained).await {
            Ok(served) => served?,
            Err(_) => tracing::warn!("shutdown-grace is over: calls in flight are cut off"),
        }
        let store = self.tokens.backend().observer().total();
        tracing::info!(
            store_calls = store.ended,
            store_failures = store.failed,
            "stopped"
        );
        Ok(())
    }
}
