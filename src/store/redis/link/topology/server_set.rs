//! Which servers hold a tenant's keys: for whoever goes through all of them, and has to know whether that was
//! one and the same data from the beginning to the end.

use std::time::Duration;

use super::{Topology, Watch};
use crate::store::redis::{Address, link::wire::ConnectError};

/// The servers that may hold keys of a tenant. Two sets that are equal, neither moving, mean that no key can
/// have been missed between them: no server failed over, was restarted, or gave the slot away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSet {
    /// The servers.
    pub servers: Vec<Server>,
    /// Which of a cluster's servers the slot belongs to, and since which epoch.
    holder: Option<(Address, u64)>,
    /// Whether keys are on their way from one server to another.
    pub is_moving: bool,
}

/// A server that holds keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// Differs after each start of the process: what a cursor of SCAN means is gone then.
    pub run_id: String,
}

impl Topology {
    /// Which servers hold keys of `slot` now.
    ///
    /// # Errors
    /// A [`ConnectError`], also as long as one of them is no primary.
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
            _ => (vec![self.primary(slot).await?.address.clone()], None, false),
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
