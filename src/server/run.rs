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
use tracing::Instrument;

use super::{
    ServeError, Server,
    connections::{Connections, Guests},
    handshake::Handshakes,
    listeners::{Listener, Listeners},
    probes,
    scrape::Scrapes,
    tenancy::{Beginning, Tenancy},
    workers::{self, Workers},
};
use crate::{
    store::{FullStore, Observed, READY_WITHIN},
    tokens::Tokens,
    upheld::upheld,
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
            let metrics = self.metrics();
            let scrapes = Scrapes::new(move || metrics.encode());
            let all = Arc::new((listener, self.health.clone(), scrapes));
            background.spawn(upheld("listening on metrics-listen", move || {
                let all = Arc::clone(&all);
                async move { probes::serve(&all.0, &all.1, &all.2).await }
            }));
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
            let keeping = self.tenants.iter().map(|tenancy| {
                let keeping = tenancy.keep(&beginning);
                keeping.instrument(tenancy.door.scope.clone())
            });
            let keeping = try_join_all(keeping);
            let following = async {
                _ = timeout(TRIED, beginning.tried()).await;
                let follow = || self.health.follow(&self.tenants[..]);
                Ok(upheld("following the health", follow).await)
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
            () = workers.ended() => {
                tracing::error!("a thread for connections has ended: the broker finishes its calls, and ends");
                self.health.stop().await;
                Err(ServeError::WorkerEnded)
            }
        };
        if matches!(ended, Ok(()) | Err(ServeError::WorkerEnded)) {
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
        let ends = self.tenants.iter().map(|Tenancy { tokens, door, .. }| {
            let revocations = tokens.providers().revocations();
            let ends = async {
                tokio::join!(
                    tokens.refresher().stopped(),
                    revocations.end(REVOCATIONS_END)
                )
            };
            ends.instrument(door.scope.clone())
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use testkit::{http2::BEGUN, panicking_log::PanickingLog};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        access::Guard,
        config::Settings,
        server::{Ready, Upkeep},
        store::MemoryStore,
    };

    /// A request to a listener for HTTP/1.
    const HTTP1: &[u8] = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

    /// Waits until somebody answers at `address`.
    async fn answers(address: SocketAddr, says: &[u8]) {
        let asked = async || {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(says).await?;
            stream.read_u8().await
        };
        while !matches!(timeout(Duration::from_secs(1), asked()).await, Ok(Ok(_))) {}
    }

    /// Whoever accepts connections panics, and then accepts the next ones.
    #[tokio::test]
    async fn no_listener_ends_by_a_panic() {
        let settings = "backend = \"memory\"\nmax-connections = 4";
        let config = Settings::from_toml(settings, "file").resolve().unwrap();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let all = [listen().await, listen().await, listen().await];
        let addresses = all.each_ref().map(|one| one.local_addr().unwrap());
        let [calls, health, metrics] = all;
        let listeners = Listeners {
            health: Some(health),
            metrics: Some(metrics),
            ..calls.into()
        };
        let guard = Guard::open(config.tenants[0].rules.tenant.clone());
        let tenants = config.tenants.into_iter().map(|tenant| {
            let upkeep: Box<dyn Upkeep> = Box::new(Ready);
            (MemoryStore::new(), tenant.rules, upkeep)
        });
        let server = Server::new(guard, tenants, config.server);
        let _serving = tokio::spawn(server.run(listeners, async { Ok(()) }, pending()));
        let full = [
            "max-connections is reached",
            "health-listen: all connections are taken",
            "metrics-listen: all connections are taken",
        ];
        for ((address, says), text) in addresses.into_iter().zip([BEGUN, BEGUN, HTTP1]).zip(full) {
            let log = PanickingLog::at(text, 1);
            let mut open = Vec::new();
            while log.panics() == 0 {
                open.push(TcpStream::connect(address).await.unwrap());
                tokio::task::yield_now().await;
            }
            drop(open);
            let answered = timeout(Duration::from_secs(20), answers(address, says)).await;
            assert!(answered.is_ok(), "{text}");
        }
    }
}
