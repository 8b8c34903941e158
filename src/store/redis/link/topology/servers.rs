//! How the servers that hold data are connected to, whichever they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{PushInfo, PushKind};
use tokio::sync::Notify;

use super::{Facts, Primary, cluster};
use crate::store::redis::{
    Address, Deployment,
    link::wire::{AtFault, ConnectError, Connection, Connector},
};

/// Connects to servers of one deployment. Clones are the same.
#[derive(Clone, Debug)]
pub struct Servers {
    connector: Connector,
    mode: Mode,
    doubt: Doubt,
}

/// What kind of deployment the servers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Standalone,
    /// A primary and its replicas, watched by sentinels.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

/// Says that what is known of the primaries may be out of date. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Doubt(Arc<Notify>);

impl Mode {
    /// The kind of a deployment.
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
    /// From now on there is doubt, until who waits for it has heard of it.
    pub fn raise(&self) {
        self.0.notify_one();
    }

    /// Waits until there is doubt.
    pub async fn raised(&self) {
        self.0.notified().await;
    }
}

impl Servers {
    /// Servers that `connector` leads to.
    pub fn new(connector: Connector, mode: Mode, doubt: Doubt) -> Self {
        Self {
            connector,
            mode,
            doubt,
        }
    }

    /// What kind of deployment the servers belong to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connector.connect_timeout
    }

    /// Connects to `primary`, whose answers may take `timeout`, and tells what it says of itself. The
    /// connection ends when the server's time as primary is over.
    ///
    /// # Errors
    /// A [`ConnectError`], also if the server is no primary any more.
    pub async fn connect(
        &self,
        primary: &Primary,
        timeout: Duration,
    ) -> Result<(Connection, Facts), ConnectError> {
        const FOLLOWED: &str = "another server became the primary";
        let connecting = async {
            let (connection, facts) = self.connect_to(&primary.address, timeout).await?;
            if facts.role != "master" && self.mode.fails_over() {
                let address = &primary.address;
                return Err(ConnectError::passing(format!("{address} is a replica")));
            }
            if primary.adopt(connection.state()) {
                Ok((connection, facts))
            } else {
                Err(ConnectError::passing(FOLLOWED))
            }
        };
        tokio::select! {
            connected = connecting => {
                if connected.is_err() {
                    self.doubt.raise();
                }
                connected
            }
            // The server that was connected to may never answer.
            () = primary.over() => Err(ConnectError::passing(FOLLOWED)),
        }
    }

    /// Connects to the server at `address`, whatever its role, and tells what it says of itself.
    ///
    /// # Errors
    /// A [`ConnectError`], also if the server belongs to another kind of deployment.
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
