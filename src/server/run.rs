//! Listens, serves and stops.

use std::{
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    ServeError, Server,
    connections::Connections,
    handshake::Handshakes,
    listeners::{Listener, Listeners},
    prepare::WhileOpen,
    probes,
    workers::{self, Workers},
};
use crate::{
    store::{FullStore, READY_WITHIN},
    tokens::Tokens,
};

/// How long tokens that are being revoked have at the end.
const REVOCATIONS_END: Duration = Duration::from_secs(5);

impl<S: FullStore> Server<S> {
    /// Serves on `listeners` until `stop` completes, then finishes the calls in flight. Once `prepare`
    /// has succeeded, calls are admitted, health may become SERVING, and `alongside` runs too. While `alongside` has
    /// closed the admission of calls, health is NOT_SERVING.
    ///
    /// # Errors
    /// Returns a [`ServeError`], also that of `alongside`. If `prepare` failed, no call was served.
    pub async fn run(
        self,
        listeners: impl Into<Listeners>,
        prepare: impl Future<Output = Result<(), ServeError>>,
        alongside: impl Future<Output = Result<(), ServeError>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let workers =
            Workers::start(workers::count(self.options.workers)).map_err(ServeError::Workers)?;
        let listeners = listeners.into();
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(
            version,
            address = %listeners.calls,
            tls = listeners.tls.is_some(),
            health_address = listeners.health.as_ref().and_then(|l| l.local_addr().ok()).map(tracing::field::display),
            metrics_address = listeners.metrics.as_ref().and_then(|l| l.local_addr().ok()).map(tracing::field::display),
            backend = S::NAME,
            tenant = %self.tenant,
            "serving"
        );
        self.health.begin().await;
        // They end when the broker has stopped.
        let mut background = JoinSet::new();
        if let Some(listener) = listeners.metrics {
            let (health, metrics) = (self.health.clone(), self.metrics());
            background
                .spawn(async move { match probes::serve(listener, health, metrics).await {} });
        }
        let entrance = self.entrance(Handshakes::new(listeners.tls))?;
        let mut connections = Connections::new(Arc::clone(&self.connections));
        let calling = connections.accept(listeners.calls, &entrance, &workers, &self.stopping);
        let health_entrance = self.health_entrance()?;
        let mut probes = Connections::default();
        let probing = async {
            match listeners.health.map(Listener::Tcp) {
                Some(listener) => {
                    let accepting =
                        probes.accept(listener, &health_entrance, &workers, &self.stopping);
                    accepting.await;
                }
                None => pending().await,
            }
        };
        let serving = Box::pin(async {
            tokio::select! {
                () = calling => {}
                () = probing => {}
            }
        });
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
        let (in_time, _) = tokio::join!(
            connections.end(self.admission.drained(), end),
            probes.end(async {}, end)
        );
        if !in_time {
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
