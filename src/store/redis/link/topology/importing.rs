//! Connections to the nodes that slots are moving to.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};

use crate::{
    store::redis::{
        Address,
        link::{
            watch::{Watched, watch},
            wire::{ConnectError, Connection},
        },
    },
    types::lock,
};

/// For how long a connection that nobody uses is kept at least. In Kubernetes, each move may lead to a new address.
const UNUSED: Duration = Duration::from_secs(60);

/// Connections to the nodes that slots are moving to: one an address, which all callers share. Each is watched, and is
/// forgotten when it ends, or when nobody has used it for a while.
#[derive(Debug, Default)]
pub struct Importing(Arc<Ways>);

type Ways = Mutex<HashMap<Address, Way>>;

/// The way to one node.
#[derive(Debug)]
struct Way {
    connection: Arc<OnceCell<Watched>>,
    used: Instant,
}

impl Importing {
    /// Returns the connection to `address`. If there is none, one of the callers opens it, and the others wait.
    ///
    /// # Errors
    /// Returns the error of `open`.
    pub async fn connection(
        &self,
        address: &Address,
        open: impl Future<Output = Result<Connection, ConnectError>>,
    ) -> Result<Connection, ConnectError> {
        let connection = self.way(address);
        let opening = async {
            let opened = open.await?;
            let kept = keep(Arc::downgrade(&self.0), opened.clone());
            Ok(Watched::new(opened, kept))
        };
        let watched = connection.get_or_try_init(|| opening).await?;
        Ok(watched.connection.clone())
    }

    fn way(&self, address: &Address) -> Arc<OnceCell<Watched>> {
        let mut ways = lock(&self.0);
        prune(&mut ways);
        let way = ways.entry(address.clone()).or_insert_with(|| Way {
            connection: Arc::default(),
            used: Instant::now(),
        });
        way.used = Instant::now();
        Arc::clone(&way.connection)
    }
}

/// Watches a connection until it has to be replaced, or nobody has used it for a while.
async fn keep(ways: Weak<Ways>, connection: Connection) {
    let mut watching = pin!(watch(&connection));
    let mut is_over = false;
    while !is_over {
        is_over = tokio::select! {
            _ = &mut watching => true,
            () = sleep(UNUSED) => false,
        };
        // If this connection is among those that are forgotten, this task ends with it.
        let Some(ways) = ways.upgrade() else { return };
        prune(&mut lock(&ways));
    }
}

/// Forgets the connections that ended or that nobody uses, and those that nobody could open.
fn prune(ways: &mut HashMap<Address, Way>) {
    ways.retain(|_, way| match way.connection.get() {
        Some(watched) => !watched.connection.is_broken() && way.used.elapsed() < UNUSED,
        // Somebody opens it.
        None => Arc::strong_count(&way.connection) > 1,
    });
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::{pause, resume, timeout};

    use super::*;
    use crate::store::redis::link::stand_in::StandIn;

    async fn connection(importing: &Importing, server: &StandIn) -> Connection {
        let opened = importing.connection(server.address(), server.connect());
        opened.await.unwrap()
    }

    async fn until(is_so: impl Fn() -> bool) {
        let becomes_so = async {
            while !is_so() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(20 * UNUSED, becomes_so).await.unwrap();
    }

    #[tokio::test]
    async fn callers_at_once_open_one_connection() {
        let (server, importing) = (StandIn::start().await, Importing::default());
        let callers = (0..8).map(|_| connection(&importing, &server));
        for connection in join_all(callers).await {
            assert!(!connection.is_broken());
        }
        assert_eq!(server.accepted(), 1);
    }

    #[tokio::test]
    async fn a_connection_that_ended_is_forgotten_and_replaced() {
        let (server, importing) = (StandIn::start().await, Importing::default());
        connection(&importing, &server).await.state().end();
        pause();
        until(|| lock(&importing.0).is_empty()).await;
        resume();
        assert!(!connection(&importing, &server).await.is_broken());
        assert_eq!(server.accepted(), 2);
    }

    #[tokio::test]
    async fn a_node_that_cant_be_connected_to_is_forgotten() {
        let (server, importing) = (StandIn::start().await, Importing::default());
        let gone = Address::Tcp("gone".to_owned(), 1);
        let failing = async { Err(ConnectError::passing("gone")) };
        assert!(importing.connection(&gone, failing).await.is_err());
        connection(&importing, &server).await;
        assert_eq!(lock(&importing.0).len(), 1);
    }

    #[tokio::test]
    async fn what_nobody_uses_is_closed() {
        let (server, importing) = (StandIn::start().await, Importing::default());
        let used = connection(&importing, &server).await;
        let state = Arc::clone(used.state());
        drop(used);
        pause();
        for _ in 0..4 {
            sleep(UNUSED - Duration::from_secs(1)).await;
            assert!(!connection(&importing, &server).await.is_broken());
        }
        assert_eq!(server.accepted(), 1);
        until(|| state.life().is_over()).await;
        assert!(lock(&importing.0).is_empty());
    }
}
