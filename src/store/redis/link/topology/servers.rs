//! Connecting to the servers that hold data.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{Facts, Primary, cluster};
use crate::store::redis::{
    Address, Deployment,
    link::wire::{AtFault, ConnectError, Connection, Connector},
};

/// Connects to the servers of one deployment. Clones share everything.
#[derive(Clone, Debug)]
pub struct Servers {
    connector: Connector,
    mode: Mode,
    doubt: Doubt,
}

/// The kind of deployment that the servers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Standalone,
    /// A primary and its replicas, watched by sentinels.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

/// A signal that what is known about the primaries may be out of date. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Doubt(Arc<Notify>);

impl Mode {
    /// Returns the kind of a deployment.
    pub fn of(deployment: &Deployment) -> Self {
        match deployment {
            Deployment::Standalone(_) => Self::Standalone,
            Deployment::Sentinel { .. } => Self::Sentinel,
            Deployment::Cluster { .. } => Self::Cluster,
        }
    }

    /// Whether another server may take over.
    pub fn fails_over(self) -> bool {
        self != Self::Standalone
    }
}

impl Doubt {
    /// Raises the signal. It stays raised until the task that waits for it has seen it.
    pub fn raise(&self) {
        self.0.notify_one();
    }

    /// Waits until the signal is raised, and lowers it.
    pub async fn raised(&self) {
        self.0.notified().await;
    }
}

impl Servers {
    /// Returns the servers that `connector` connects to.
    pub fn new(connector: Connector, mode: Mode, doubt: Doubt) -> Self {
        Self {
            connector,
            mode,
            doubt,
        }
    }

    /// Returns the kind of deployment that the servers belong to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns how long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connector.connect_timeout
    }

    /// Connects to `primary`. Returns the connection and what the server says about itself. An answer may
    /// take `timeout`. The connection ends when the server is no longer the primary.
    ///
    /// # Errors
    /// Returns a [`ConnectError`], also if the server is not the primary any more.
    pub async fn connect(
        &self,
        primary: &Primary,
        timeout: Duration,
    ) -> Result<(Connection, Facts), ConnectError> {
        const FOLLOWED: &str = "another server became the primary";
        let connecting = async {
            let (connection, facts) = self.connect_to(&primary.address, timeout).await?;
            if facts.role != "master" {
                if self.mode.fails_over() {
                    let address = &primary.address;
                    return Err(ConnectError::passing(format!("{address} is a replica")));
                }
                // The only server there is. Reads work.
                connection.state().set_replica();
                self.doubt.raise();
            }
            if primary.adopt(connection.state()) {
                Ok((connection, facts))
            } else {
                Err(ConnectError::passing(FOLLOWED))
            }
        };
        tokio::select! {
            connected = connecting => {
                if connected.is_err() && self.mode.fails_over() {
                    self.doubt.raise();
                }
                connected
            }
            // The server may never answer.
            () = primary.over() => Err(ConnectError::passing(FOLLOWED)),
        }
    }

    /// Connects to the server at `address`, whatever its role. Returns the connection and what the server
    /// says about itself.
    ///
    /// # Errors
    /// Returns a [`ConnectError`], also if the server belongs to another kind of deployment.
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
        let found = match (facts.mode.as_str(), self.mode) {
            ("sentinel", _) => "is a sentinel; the URL of sentinels begins with redis+sentinel",
            ("cluster", Mode::Cluster) => return Ok((connection, facts)),
            (_, Mode::Cluster) => cluster::NO_NODE,
            ("cluster", _) => "is a node of a cluster; the URL of one begins with redis+cluster",
            _ => return Ok((connection, facts)),
        };
        Err(ConnectError::of(AtFault::Url, format!("{address} {found}")))
    }
}

/// Connects to `address` and logs in.
pub(super) async fn open(
    connector: &Connector,
    address: &Address,
) -> Result<Connection, ConnectError> {
    let opened = connector.open(address, |_| {}).await?;
    Ok(Connection::new(opened, connector.timeout))
}
