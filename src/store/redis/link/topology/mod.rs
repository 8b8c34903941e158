//! Where the primary is: one file a topology. Nothing else in the program knows which one it is.
//!
//! All keys of a tenant are in one hash slot, so that it has one primary at a time, also in a cluster.
//! [`Topology::connect`] finds it; when another server takes over, connections to the last one end at
//! once. With Sentinel that is told by the sentinels (`sentinel`), in a cluster by the nodes when a call
//! goes wrong (`cluster`).

mod cluster;
mod current;
mod facts;
mod nodes;
mod sentinel;
mod server_set;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{PushInfo, PushKind};

use self::{cluster::Cluster, sentinel::Sentinels};
pub use self::{
    current::{Current, Primary},
    facts::Facts,
    server_set::{Server, ServerSet},
};
use super::wire::{ConnectError, Connection, Connector, ErrorClass, Names};
use crate::store::redis::{Address, Deployment};

/// For how long the nodes of a cluster are asked again and again when a primary has not answered in time:
/// longer than it takes until the next call finds that it doesn't.
const SILENCE: Duration = Duration::from_secs(2);

/// Finds the primary and connects to it.
#[derive(Debug)]
pub struct Topology {
    connector: Connector,
    current: Arc<Current>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Standalone,
    Sentinel(Box<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Topology {
    /// The servers of `deployment`, spoken to as `connector` says; of a cluster the part that holds `slot`.
    #[must_use]
    pub fn new(deployment: Deployment, connector: Connector, slot: u16) -> Self {
        let current = Arc::<Current>::default();
        let kind = match deployment {
            Deployment::Standalone(address) => {
                current.switch(&address);
                Kind::Standalone
            }
            Deployment::Sentinel {
                sentinels,
                master,
                access,
            } => {
                let connector = Connector {
                    access,
                    names: Names::Sentinel,
                    ..connector.clone()
                };
                let current = Arc::clone(&current);
                Kind::Sentinel(Box::new(Sentinels::new(
                    sentinels, master, connector, current,
                )))
            }
            Deployment::Cluster { seeds } => {
                let current = Arc::clone(&current);
                Kind::Cluster(Arc::new(Cluster::new(
                    seeds,
                    connector.clone(),
                    slot,
                    current,
                )))
            }
        };
        Self {
            connector,
            current,
            kind,
        }
    }

    /// A connection to the primary whose answers take `timeout` at most, and what the primary says of itself. The
    /// connection ends when another server takes over.
    ///
    /// # Errors
    /// A [`ConnectError`].
    pub async fn connect(&self, timeout: Duration) -> Result<(Connection, Facts), ConnectError> {
        let primary = self.primary().await?;
        tokio::select! {
            connected = self.connect_primary(&primary, timeout) => {
                if let (Err(_), Kind::Cluster(cluster)) = (&connected, &self.kind) {
                    cluster.doubt();
                }
                connected
            }
            // The one that was connected to may never answer.
            () = self.current.changed_from(primary.term) => {
                Err(ConnectError::passing("another server became the primary"))
            }
        }
    }

    async fn connect_primary(
        &self,
        primary: &Primary,
        timeout: Duration,
    ) -> Result<(Connection, Facts), ConnectError> {
        let (connection, facts) = self.connect_to(&primary.address, timeout).await?;
        if facts.role != "master" && self.fails_over() {
            let address = &primary.address;
            return Err(ConnectError::passing(format!("{address} is a replica")));
        }
        if self.current.adopt(primary, connection.life()) {
            Ok((connection, facts))
        } else {
            Err(ConnectError::passing("another server became the primary"))
        }
    }

    /// A connection to the server at `address`, whatever its role, and what it says of itself.
    ///
    /// # Errors
    /// A [`ConnectError`].
    pub async fn connect_to(
        &self,
        address: &Address,
        timeout: Duration,
    ) -> Result<(Connection, Facts), ConnectError> {
        let connector = Connector {
            timeout,
            ..self.connector.clone()
        };
        let mut connection = open(&connector, address).await?;
        let facts = Facts::ask(&mut connection, address).await?;
        let found = match (facts.mode.as_str(), &self.kind) {
            ("sentinel", _) => "is a sentinel; the URL of sentinels begins with redis+sentinel",
            ("cluster", Kind::Cluster(_)) => return Ok((connection, facts)),
            (_, Kind::Cluster(_)) => cluster::NO_NODE,
            ("cluster", _) => "is a node of a cluster; the URL of one begins with redis+cluster",
            _ => return Ok((connection, facts)),
        };
        Err(ConnectError::of("redis-url", format!("{address} {found}")))
    }

    /// The primary, as far as is known.
    async fn primary(&self) -> Result<Primary, ConnectError> {
        match &self.kind {
            Kind::Standalone => {}
            Kind::Sentinel(sentinels) => sentinels.primary(self.connector.connect_timeout).await?,
            Kind::Cluster(cluster) => cluster.find().await?,
        }
        let unknown = || ConnectError::passing("no primary is known");
        self.current.get().ok_or_else(unknown)
    }

    /// A connection to the node that a slot is on its connector to.
    ///
    /// # Errors
    /// A [`ConnectError`].
    pub async fn connect_importing(&self, address: &Address) -> Result<Connection, ConnectError> {
        match &self.kind {
            Kind::Cluster(cluster) => Ok(cluster.importing(address).await?.asking()),
            _ => Err(ConnectError::passing(
                "no cluster, and yet a slot that moves",
            )),
        }
    }

    /// Takes note of what a call came to.
    pub fn note(&self, class: &ErrorClass) {
        let Kind::Cluster(cluster) = &self.kind else {
            return;
        };
        match class {
            ErrorClass::Moved(Some(address)) => cluster.moved(address),
            ErrorClass::Moved(None)
            | ErrorClass::Demoted
            | ErrorClass::Passing
            | ErrorClass::Ended => {
                cluster.suspect(Duration::ZERO);
            }
            ErrorClass::Silent => cluster.suspect(SILENCE),
            _ => {}
        }
    }

    /// Whether the primary is surely the one that is known, or was until [`sentinel::STALENESS`] ago at most.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        match &self.kind {
            // A cluster's primary itself stops when it can't reach the majority any more.
            Kind::Standalone | Kind::Cluster(_) => true,
            Kind::Sentinel(sentinels) => sentinels.is_confirmed(),
        }
    }

    /// Waits a moment, or until another server takes over.
    pub async fn pause(&self, span: Duration) {
        let term = self.current.get().map_or(0, |primary| primary.term);
        _ = tokio::time::timeout(span, self.current.changed_from(term)).await;
    }

    /// The address of the primary, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        let primary = self.current.get();
        primary.map_or_else(|| "Redis".to_owned(), |primary| primary.address.to_string())
    }

    /// Whether slots may move to other servers.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// Whether another server may take over.
    #[must_use]
    pub fn fails_over(&self) -> bool {
        !matches!(self.kind, Kind::Standalone)
    }
}

/// Connects to `address` and logs in.
async fn open(connector: &Connector, address: &Address) -> Result<Connection, ConnectError> {
    let broken = Arc::<AtomicBool>::default();
    let ended = Arc::clone(&broken);
    let opened = connector
        .open(address, move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.store(true, Ordering::Relaxed);
            }
        })
        .await?;
    Ok(Connection::new(opened.handle, opened.driver, broken))
}
