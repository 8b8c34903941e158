//! What the operator decides about Redis: where it is, and how the broker uses it.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use super::{largest::Largest, link::wire::AtFault};
use crate::types::Secret;

/// Where Redis is, how the broker connects to it, and when a write counts as done.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The servers.
    pub deployment: Deployment,
    /// How the broker logs in to a server that holds data.
    pub access: Access,
    /// How many connections each primary gets for reads, in each runtime, that all callers share.
    pub connections: u32,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a call waits for a new primary, if another server can take over.
    pub failover_wait: Duration,
    /// How large a value may be.
    pub largest: Largest,
    /// When a write counts as done.
    pub durability: Durability,
    /// The names of the settings, for messages about a setting that is wrong.
    pub spelling: Spelling,
}

/// The names of the settings, as the operator knows them.
#[derive(Clone)]
pub struct Spelling(Arc<dyn Fn(AtFault) -> String + Send + Sync>);

impl Spelling {
    /// Makes a spelling of a function that returns a setting's name.
    pub fn new(name: impl Fn(AtFault) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(name))
    }

    /// Returns the name of a setting.
    #[must_use]
    pub fn name(&self, at_fault: AtFault) -> String {
        (self.0)(at_fault)
    }
}

impl fmt::Debug for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spelling")
    }
}

/// The servers of a Redis, and how they are organized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// One server.
    Standalone(Address),
    /// A primary and its replicas, watched by sentinels.
    Sentinel {
        /// The addresses of the sentinels.
        sentinels: Vec<Address>,
        /// The sentinels' name for the primary.
        master: String,
        /// How the broker logs in to the sentinels.
        access: Access,
    },
    /// A Redis Cluster.
    Cluster {
        /// The nodes that the broker asks first.
        seeds: Vec<Address>,
    },
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A host's name or IP address, and a port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// How the broker logs in to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// An ACL user. `None` means Redis' `default` user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Password,
    /// The number of the database.
    pub database: u16,
    /// TLS, if the connection uses it.
    pub tls: Option<Tls>,
}

/// Where a password comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// There is no password.
    #[default]
    None,
    /// The password is in the configuration.
    Fixed(Secret),
    /// The password is in a file, which is read at every connect. It can be changed without a restart.
    File(PathBuf),
}

/// TLS to a server. The files are in PEM format and are read at every connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that the broker trusts. `None` means those of the system.
    pub ca: Option<PathBuf>,
    /// The files of the broker's own certificate and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must be for. `None` means the host that the broker connects to.
    pub server_name: Option<String>,
}

/// When a write counts as done (guarantees, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the primary has it.
    Primary,
    /// When replicas have it too.
    Replicated {
        /// How many replicas must have it.
        replicas: u32,
        /// How long the replicas may take.
        timeout: Duration,
        /// How many connections each primary gets for such writes. Each carries one write at a time.
        connections: u32,
        /// How many such writes there may be at once. Most of them wait for a connection. More are refused.
        waiting: usize,
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
    /// Returns how long a call waits for a working primary before it fails, and how long a write of unknown
    /// outcome is repeated if that is harmless.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.deployment.fails_over() {
            self.failover_wait
        } else {
            self.connect_timeout
        }
    }
}
