//! Which servers hold a tenant's keys. A walk over all keys needs this, and has to know whether the servers
//! stayed the same from its beginning to its end.

use std::time::Duration;

use super::{Topology, Watch};
use crate::store::redis::{Address, link::wire::ConnectError};

/// The servers that may hold keys of a tenant.
///
/// If two sets are equal and neither is moving, no server failed over, was restarted or gave the slot away
/// between them. So no key was missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSet {
    /// The servers.
    pub servers: Vec<Server>,
    /// The server of a cluster that the slot belongs to, and its epoch.
    holder: Option<(Address, u64)>,
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
            Watch::Name(_) | Watch::Sentinels(_) => {
                let primary = self.primary(slot).await?;
                (vec![primary.address.clone()], None, false)
            }
        };
        let mut servers = Vec::with_capacity(addresses.len());
        for address in addresses {
            let (_, facts) = self.servers.connect_to(&address, timeout).await?;
            if facts.role != "master" && self.fails_over() {
                return Err(ConnectError::passing(format!("{address} is a replica")));
            }
            let run_id = facts.run_id;
            servers.push(Server { address, run_id });
        }
        Ok(ServerSet {
            servers,
            holder,
            is_moving,
        })
    }
}
