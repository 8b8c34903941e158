//! Listens, serves and stops.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use super::{
    ServeError, Server,
    connections::Connections,
    prepare::WhileOpen,
    workers::{self, Workers},
};
use crate::{
    store::{FullStore, READY_WITHIN},
    tokens::Tokens,
};

/// How long tokens that are being revoked have at the end.
const REVOCATIONS_END: Duration = Duration::from_secs(5);

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

impl<S: FullStore> Server<S> {
    /// Serves on `listener` until `stop` completes, then finishes the calls in flight. Once `prepare`
    /// has succeeded, calls are admitted, health may become SERVING, and `alongside` runs too. While `alongside` has
    /// closed the admission of calls, health is NOT_SERVING.
    ///
    /// # Errors
    /// Returns a [`ServeError`], also that of `alongside`. If `prepare` failed, no call was served.
    pub async fn run(
        self,
        listener: TcpListener,
        prepare: impl Future<Output = Result<(), ServeError>>,
        alongside: impl Future<Output = Result<(), ServeError>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let workers =
            Workers::start(workers::count(self.options.workers)).map_err(ServeError::Workers)?;
        let address = listener.local_addr().ok().map(tracing::field::display);
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(version, address, backend = S::NAME, tenant = %self.tenant, "serving");
        self.health.begin().await;
        let entrance = self.entrance()?;
        let mut connections = Connections::new(Arc::clone(&self.connections));
        let serving = Box::pin(connections.accept(listener, &entrance, &workers, &self.stopping));
        // In boxes, because the types of the futures are too deep for the compiler otherwise.
        let watching = Box::pin(async {
            prepare.await?;
            workers.each(|| reach(Arc::clone(&self.tokens))).await;
            self.admission.open();
            let store = WhileOpen {
                tokens: Arc::clone(&self.tokens),
                admission: self.admission.clone(),
            };
            let following = async { Ok(self.health.follow(&store).await) };
            let (never, ()) = tokio::try_join!(following, alongside)?;
            match never {}
        });
        let told_to_stop = async {
            tokio::select! {
                () = stop => {}
                watched = watching => return watched,
            }
            tracing::info!(calls = self.admission.in_flight(), "stopping");
            self.tokens.refresher().stop();
            // Clients that watch the health learn of the end before their streams end.
            self.health.stop().await;
            sleep(self.options.shutdown_delay).await;
            Ok::<(), ServeError>(())
        };
        tokio::select! {
            told = told_to_stop => told?,
            () = serving => {}
        }

        self.stopping.begin();
        let end = Instant::now() + self.options.shutdown_grace;
        if !connections.end(self.admission.drained(), end).await {
            tracing::warn!("shutdown-grace is over: calls in flight are cut off");
        }
        // Whatever the grace for calls: what a provider was asked for is written.
        let refresher = self.tokens.refresher();
        refresher.stop();
        let revocations = self.tokens.providers().revocations();
        tokio::join!(refresher.stopped(), revocations.end(REVOCATIONS_END));
        let store = self.tokens.backend().observer().total();
        tracing::info!(
            store_calls = store.ended,
            store_failures = store.failed,
            "stopped"
        );
        Ok(())
    }
}

/// Reaches the store from this thread, so that the first call needn't connect to it. If that takes too long, it goes on
/// in the background.
async fn reach<S: FullStore>(tokens: Arc<Tokens<S>>) {
    _ = timeout(READY_WITHIN, tokens.backend().ready()).await;
}
