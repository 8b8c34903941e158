//! Which servers hold a tenant's keys. A walk over all keys needs this, and has to know whether the servers
//! stayed the same from its beginning to its end.

use std::time::Duration;

use super::{Topology, Watch};
use crate::store::redis::{Address, link::wire::ConnectError};

/// The servers that may hold keys of a tenant.
///
/// If two sets are equal and neither is moving, no server failed over, was restarted or gave the slot away
/// between them, not even if it came back afterwards. So no key was missed, and what this process wrote is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSet {
    /// The servers.
    pub servers: Vec<Server>,
    /// The server of a cluster that the slot belongs to, and its epoch.
    holder: Option<(Address, u64)>,
    /// The term of the primary to which this process sends requests about the slot.
    term: u64,
    /// Whether keys are moving from one server to another.
    pub is_moving: bool,
}

/// A server that holds keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The server's address.
    pub address: Address,
    /// The id of the process. It differs after each start, and a cursor of SCAN is invalid then.
    pub run_id: String,
    /// The id of the history of the server's data. It differs each time that the server becomes a primary, also if it
    /// was one before: meanwhile it took over another server's data.
    pub replication_id: String,
}

impl Topology {
    /// Returns the servers that hold keys of `slot` now.
    ///
    /// # Errors
    /// Returns a [`ConnectError`], also while one of the servers is a replica.
    pub async fn server_set(
        &self,
        slot: u16,
        timeout: Duration,
    ) -> Result<ServerSet, ConnectError> {
        let (addresses, holder, is_moving) = match &self.watch {
            Watch::Nodes(cluster) => {
                let holders = cluster.holders(slot).await?;
                (holders.primaries, Some(holders.holder), holders.is_moving)
            }
            Watch::Name(_) | Watch::Sentinels(_) => (Vec::new(), None, false),
        };
        let primary = self.primary(slot).await?;
        let addresses = match holder {
            Some(_) => addresses,
            None => vec![primary.address.clone()],
        };
        let mut servers = Vec::with_capacity(addresses.len());
        for address in addresses {
            // Requests about the slot go to the same process.
            let connected = match address == primary.address {
                true => self.servers.connect(&primary, timeout).await,
                false => self.servers.connect_to(&address, timeout, None).await,
            };
            let (_, facts) = connected?;
            if facts.role != "master" && self.fails_over() {
                return Err(ConnectError::passing(format!("{address} is a replica")));
            }
            servers.push(Server {
                address,
                run_id: facts.run_id,
                replication_id: facts.replication_id,
            });
        }
        Ok(ServerSet {
            servers,
            holder,
            term: primary.term,
            is_moving,
        })
    }
}
