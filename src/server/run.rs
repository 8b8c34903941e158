//! Listens, serves and stops.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use super::{
    ServeError, Server,
    connections::Connections,
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
    /// Serves on `listener` until `stop` completes, then finishes the calls in flight. Once `reach` has succeeded, the
    /// data of the tenants is made ready, each by its [`Upkeep`](super::Upkeep). From then on a tenant's calls are
    /// admitted. The health may become SERVING when each tenant was tried.
    ///
    /// # Errors
    /// Returns a [`ServeError`]: that of `reach`, before any call was served, or of the only tenant's upkeep.
    pub async fn run(
        self,
        listener: TcpListener,
        reach: impl Future<Output = Result<(), ServeError>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let workers =
            Workers::start(workers::count(self.options.workers)).map_err(ServeError::Workers)?;
        let address = listener.local_addr().ok().map(tracing::field::display);
        let version = env!("CARGO_PKG_VERSION");
        let (tenant, tenants) = (
            self.only_tenant().map(tracing::field::display),
            self.tenants.len(),
        );
        tracing::info!(
            version,
            address,
            backend = S::NAME,
            tenant,
            tenants,
            "serving"
        );
        self.health.begin().await;
        let entrance = self.entrance()?;
        let mut connections = Connections::new(Arc::clone(&self.connections));
        let serving = Box::pin(connections.accept(listener, &entrance, &workers, &self.stopping));
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
            self.finish(connections).await;
        }
        join_all(self.tenants.iter().map(|tenancy| tenancy.upkeep.end())).await;
        ended
    }

    /// Finishes the calls in flight, within the grace for them.
    async fn finish(&self, connections: Connections) {
        self.stopping.begin();
        let end = Instant::now() + self.options.shutdown_grace;
        if !connections.end(self.admission.drained(), end).await {
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
