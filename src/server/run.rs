//! Listens, serves and stops.

use std::{
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    ServeError, Server,
    connections::{Connections, Guests},
    handshake::Handshakes,
    listeners::{Listener, Listeners},
    probes,
    tenancy::{Beginning, Tenancy},
    workers::{self, Workers},
};
use crate::{
    store::{FullStore, Observed, READY_WITHIN},
    tokens::Tokens,
};

/// How long the broker waits at most until each tenant was tried. Those that wait for a part of Redis that is away hold up no
/// others for longer.
const TRIED: Duration = Duration::from_secs(30);
/// How long tokens that are being revoked have at the end.
const REVOCATIONS_END: Duration = Duration::from_secs(5);

impl<S: FullStore> Server<S> {
    /// Serves on `listeners` until `stop` completes, then finishes the calls in flight. Once `reach` has succeeded, the
    /// data of the tenants is made ready, each by its [`Upkeep`](super::Upkeep). From then on a tenant's calls are
    /// admitted. The health may become SERVING when each tenant was tried.
    ///
    /// # Errors
    /// Returns a [`ServeError`]: that of `reach`, before any call was served, or of the only tenant's upkeep.
    pub async fn run(
        self,
        listeners: impl Into<Listeners>,
        reach: impl Future<Output = Result<(), ServeError>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let workers =
            Workers::start(workers::count(self.options.workers)).map_err(ServeError::Workers)?;
        let listeners = listeners.into();
        let version = env!("CARGO_PKG_VERSION");
        let (tenant, tenants) = (
            self.only_tenant().map(tracing::field::display),
            self.tenants.len(),
        );
        tracing::info!(
            version,
            address = %listeners.calls,
            tls = listeners.tls.is_some(),
            health_address = listeners.health.as_ref().and_then(|l| l.local_addr().ok()).map(tracing::field::display),
            metrics_address = listeners.metrics.as_ref().and_then(|l| l.local_addr().ok()).map(tracing::field::display),
            backend = S::NAME,
            tenant,
            tenants,
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
        let mut connections = Connections::new(Guests::Callers, Arc::clone(&self.connections));
        let calling = connections.accept(listeners.calls, &entrance, &workers, &self.stopping);
        let health_entrance = self.health_entrance()?;
        let mut probes = Connections::new(Guests::Probes, Arc::default());
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
            reach.await?;
            let first = || self.tenants.first().map(|first| Arc::clone(&first.tokens));
            workers.each(|| reached(first())).await;
            let beginning = Beginning::of(self.tenants.len());
            let keeping = self.tenants.iter().map(|tenancy| tenancy.keep(&beginning));
            let keeping = try_join_all(keeping);
            let following = async {
                _ = timeout(TRIED, beginning.tried()).await;
                Ok(self.health.follow(&self.tenants[..]).await)
            };
            let (never, _) = tokio::try_join!(following, keeping)?;
            match never {}
        });
        let told_to_stop = async {
            tokio::select! {
                () = stop => {}
                watched = watching => return watched,
            }
            tracing::info!(calls = self.admission.in_flight(), "stopping");
            self.each(|tokens| tokens.refresher().stop());
            // Clients that watch the health learn of the end before their streams end.
            self.health.stop().await;
            sleep(self.options.shutdown_delay).await;
            Ok::<(), ServeError>(())
        };
        let ended = tokio::select! {
            told = told_to_stop => told,
            () = serving => Ok(()),
        };
        if ended.is_ok() {
            self.finish(connections, probes).await;
        }
        join_all(self.tenants.iter().map(|tenancy| tenancy.upkeep.end())).await;
        ended
    }

    /// Finishes the calls in flight, within the grace for them.
    async fn finish(&self, connections: Connections, probes: Connections) {
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
        self.each(|tokens| tokens.refresher().stop());
        let ends = self.tenants.iter().map(|Tenancy { tokens, .. }| async {
            let revocations = tokens.providers().revocations();
            tokio::join!(
                tokens.refresher().stopped(),
                revocations.end(REVOCATIONS_END)
            );
        });
        join_all(ends).await;
        let of_stores = self
            .tenants
            .iter()
            .map(|tenancy| tenancy.tokens.backend().observer().total());
        let (ended, failed) = of_stores.fold((0, 0), |(ended, failed), store| {
            (ended + store.ended, failed + store.failed)
        });
        tracing::info!(store_calls = ended, store_failures = failed, "stopped");
    }

    fn each(&self, then: impl Fn(&Tokens<Observed<S>>)) {
        self.tenants
            .iter()
            .for_each(|tenancy| then(&tenancy.tokens));
    }
}

/// Reaches the store from this thread, so that the first call needn't connect to it. If that takes too long, it goes on
/// in the background.
async fn reached<S: FullStore>(tokens: Option<Arc<Tokens<S>>>) {
    if let Some(tokens) = tokens {
        _ = timeout(READY_WITHIN, tokens.backend().ready()).await;
    }
}
