//! Where Redis is and how it is spoken to: what the operator decides.

use std::{fmt, path::PathBuf, time::Duration};

use super::link::wire::AtFault;
use crate::types::Secret;

/// Where Redis is, how it is spoken to, and when a write counts.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Which servers there are.
    pub deployment: Deployment,
    /// How a server that holds data is spoken to.
    pub access: Access,
    /// How many connections, each shared by all callers.
    pub connections: u32,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a call waits for a new primary, where there can be one.
    pub failover_wait: Duration,
    /// When a write counts as done.
    pub durability: Durability,
    /// How a setting is spelled, for messages about one that is wrong.
    pub spelling: fn(AtFault) -> &'static str,
}

/// Which servers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// One server.
    Standalone(Address),
    /// A primary that sentinels know.
    Sentinel {
        /// Where the sentinels are.
        sentinels: Vec<Address>,
        /// What they call the primary.
        master: String,
        /// How they are spoken to.
        access: Access,
    },
    /// A Redis Cluster.
    Cluster {
        /// Nodes to ask first.
        seeds: Vec<Address>,
    },
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A host, by name or number, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// How a server is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// An ACL user; without one, Redis' `default`.
    pub username: Option<String>,
    /// Its password.
    pub password: Password,
    /// The database.
    pub database: u16,
    /// Over TLS.
    pub tls: Option<Tls>,
}

/// Where a password comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    #[default]
    None,
    /// From the configuration.
    Fixed(Secret),
    /// From a file, read at every connect: a password can be changed without a restart.
    File(PathBuf),
}

/// TLS to a server. The files are PEM, read at every connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that may vouch for it; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The broker's own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What the server's certificate must be for; `None`: the host that is connected to.
    pub server_name: Option<String>,
}

/// When a write counts as done (guarantees, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the primary has done it.
    Primary,
    /// When replicas have it too.
    Replicated {
        /// How many.
        replicas: u32,
        /// How long they have for it.
        timeout: Duration,
        /// Connections for such writes, each for one at a time.
        connections: u32,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Deployment {
    /// Whether another server can take over from the primary.
    #[must_use]
    pub fn fails_over(&self) -> bool {
        !matches!(self, Self::Standalone(_))
    }
}

impl RedisOptions {
    /// How long a call waits for a primary that works before it fails, and how long a write of unknown
    /// outcome is repeated where that does no harm.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.deployment.fails_over() {
            self.failover_wait
        } else {
            self.connect_timeout
        }
    }
}
