//! Where the primaries are. Each topology has a file. Nothing else in the program knows which topology there
//! is.
//!
//! All keys of a tenant are in one hash slot, so a tenant has one primary at a time, even in a cluster. The
//! topology belongs to the process and serves every slot: [`Topology::primary`] finds the primary of any
//! slot. When another server takes over, the connections to the last one end at once. With Sentinel the
//! sentinels report it (`sentinel`). In a cluster the nodes report it when a call fails (`cluster`). The name of a
//! single server may move to another one (`name`). Whatever reports it, all connections of a term lead to one process
//! (`primary`).

mod cluster;
mod endpoints;
mod facts;
mod importing;
mod name;
mod nodes;
mod primaries;
mod primary;
mod roster;
mod sentinel;
mod server_set;
mod servers;
mod votes;

use std::{sync::Arc, time::Duration};

use self::{cluster::Cluster, name::Name, sentinel::Sentinels};
pub use self::{
    facts::Facts,
    primary::Primary,
    server_set::{Server, ServerSet},
    servers::{Mode, Servers},
};
use super::wire::{ConnectError, Connection, Connector, ErrorClass, Peer};
use crate::store::redis::{Address, Deployment};
use primaries::Primaries;
use servers::Doubt;

/// For how long the nodes of a cluster are asked repeatedly when a primary hasn't answered in time. This is
/// longer than the next call takes to find that the primary still doesn't answer.
const SILENCE: Duration = Duration::from_secs(2);

/// The primaries of a deployment, and what watches them.
#[derive(Debug)]
pub struct Topology {
    servers: Servers,
    primaries: Primaries,
    watch: Watch,
}

/// What reports which servers are the primaries.
#[derive(Debug)]
enum Watch {
    /// The name of the only server.
    Name(Box<Name>),
    Sentinels(Box<Sentinels>),
    Nodes(Arc<Cluster>),
}

impl Topology {
    /// Returns the topology of `deployment`. `connector` connects to its servers.
    #[must_use]
    pub fn new(deployment: Deployment, connector: Connector) -> Self {
        let mode = Mode::of(&deployment);
        let doubt = Doubt::default();
        let primaries = match mode {
            Mode::Cluster => Primaries::of_slots(),
            Mode::Standalone | Mode::Sentinel => Primaries::of_everything(),
        };
        let servers = Servers::new(connector.clone(), mode, doubt.clone(), primaries.terms());
        let watch = match deployment {
            Deployment::Standalone(address) => {
                let name = Name::new(address, servers.clone(), primaries.clone(), doubt);
                Watch::Name(Box::new(name))
            }
            Deployment::Sentinel {
                sentinels,
                master,
                access,
            } => {
                let connector = Connector {
                    access,
                    peer: Peer::Sentinel,
                    ..connector
                };
                let sentinels = Sentinels::new(sentinels, master, connector, primaries.clone());
                Watch::Sentinels(Box::new(sentinels))
            }
            Deployment::Cluster { seeds } => {
                let cluster = Cluster::new(seeds, connector, primaries.clone(), doubt);
                Watch::Nodes(Arc::new(cluster))
            }
        };
        Self {
            servers,
            primaries,
            watch,
        }
    }

    /// Returns how often a server began to be a primary, as far as the process noticed, the first ones included.
    pub fn terms(&self) -> u64 {
        self.primaries.begun()
    }

    /// Returns what connects to the servers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Returns the primary of `slot`. Asks the sentinels or the nodes if it isn't known.
    ///
    /// # Errors
    /// Returns a [`ConnectError`] if no primary is known.
    pub async fn primary(&self, slot: u16) -> Result<Arc<Primary>, ConnectError> {
        match &self.watch {
            Watch::Name(name) => name.follow(),
            // The sentinels are waited for only until they have named the first primary.
            Watch::Sentinels(sentinels) if self.primaries.of(slot).is_none() => {
                sentinels.primary(self.servers.connect_timeout()).await?;
            }
            Watch::Sentinels(_) => {}
            Watch::Nodes(cluster) => return cluster.primary(slot).await,
        }
        let unknown = || ConnectError::passing("no primary is known");
        self.primaries.of(slot).ok_or_else(unknown)
    }

    /// Returns the primary of `slot` if nobody has to be asked for it.
    pub fn known_primary(&self, slot: u16) -> Option<Arc<Primary>> {
        match &self.watch {
            Watch::Name(name) => name.follow(),
            Watch::Sentinels(_) => {}
            Watch::Nodes(_) => return self.primaries.usable(slot),
        }
        self.primaries.of(slot)
    }

    /// Returns the term of the primary of `slot`, if one is known. Two slots with the same term have the same
    /// primary.
    #[must_use]
    pub fn known(&self, slot: u16) -> Option<u64> {
        self.primaries.of(slot).map(|primary| primary.term)
    }

    /// Returns why no primary is known, for callers that waited for one in vain.
    pub fn trouble(&self) -> Option<ConnectError> {
        match &self.watch {
            Watch::Name(_) => None,
            Watch::Sentinels(sentinels) => Some(sentinels.why_unknown()),
            Watch::Nodes(cluster) => cluster.last_failure(),
        }
    }

    /// Returns a connection to the node that a slot is moving to, as `primary` said.
    ///
    /// # Errors
    /// Returns a [`ConnectError`].
    pub async fn connect_importing(
        &self,
        primary: &Primary,
        address: &Address,
    ) -> Result<Connection, ConnectError> {
        match &self.watch {
            Watch::Nodes(cluster) => Ok(cluster.importing(primary, address).await?.asking()),
            _ => Err(ConnectError::passing(
                "no cluster, and yet a slot that moves",
            )),
        }
    }

    /// Takes note that a request about `slot`, which was sent to `primary`, failed with an error of this
    /// class.
    pub fn note(&self, slot: u16, primary: &Arc<Primary>, class: &ErrorClass) {
        let cluster = match &self.watch {
            Watch::Nodes(cluster) => cluster,
            Watch::Name(_) if *class == ErrorClass::Demoted => return self.note_replica(),
            Watch::Name(_) | Watch::Sentinels(_) => return,
        };
        match class {
            ErrorClass::Moved(Some(address)) => cluster.moved(slot, primary, address),
            ErrorClass::Moved(None)
            | ErrorClass::Demoted
            | ErrorClass::Passing
            | ErrorClass::Ended => cluster.suspect(primary, Duration::ZERO),
            ErrorClass::Silent => self.silent(primary),
            _ => {}
        }
    }

    /// Takes note that a server said that it is a replica. The name of a single server may lead to another one by
    /// now.
    pub fn note_replica(&self) {
        if let Watch::Name(name) = &self.watch {
            name.suspect();
        }
    }

    /// Takes note that the server of `primary` is silent or can't be connected to.
    pub fn silent(&self, primary: &Arc<Primary>) {
        if let Watch::Nodes(cluster) = &self.watch {
            // Longer than the next attempt to connect takes, which may be silent too.
            let attempt = self.servers.connect_timeout() + Duration::from_secs(1);
            cluster.suspect(primary, SILENCE.max(attempt));
        }
    }

    /// Leaves all servers, for good. Their connections end.
    pub fn close(&self) {
        self.primaries.close();
    }

    /// Whether the known primaries are surely right, or were so at most [`votes::STALENESS`] ago.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        match &self.watch {
            // A primary of a cluster stops by itself when it can't reach the majority any more.
            Watch::Name(_) | Watch::Nodes(_) => true,
            Watch::Sentinels(sentinels) => sentinels.is_confirmed(),
        }
    }

    /// Waits for `span`, or until another server takes over `slot`.
    pub async fn pause(&self, slot: u16, span: Duration) {
        let now = self.primaries.usable(slot);
        _ = tokio::time::timeout(span, self.primaries.changed(slot, now.as_ref())).await;
    }

    /// Waits until `slot` has a primary other than `last`.
    pub async fn changed(&self, slot: u16, last: &Arc<Primary>) {
        self.primaries.changed(slot, Some(last)).await;
    }

    /// Whether slots may move to other servers.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.servers.mode() == Mode::Cluster
    }

    /// Whether another server may take over.
    #[must_use]
    pub fn fails_over(&self) -> bool {
        self.servers.mode().fails_over()
    }
}
