//! The servers for Redis' data: real servers of every topology, which the tests of this process
//! share. The broker has only the rights in `deploy/redis/` there.

use std::{future::Future, sync::OnceLock, time::Duration};

use testkit::{
    cluster::{self, Cluster},
    deployment::Deployment,
    launch::Program,
    security::Security,
    sentinel::{self, Sentinels},
    standalone::Standalone,
};

/// Long enough that no server counts as failed because the machine is busy.
const CALM: Duration = Duration::from_secs(15);

/// Servers to run the suite on.
pub trait SharedServers: Send + Sync + 'static {
    /// The servers' type.
    type Servers: Deployment;

    /// Returns the servers that all tests of this process share.
    fn shared() -> impl Future<Output = &'static Self::Servers> + Send;
}

/// `shared_servers!(Name: Type = start;)`.
macro_rules! shared_servers {
    ($($(#[$doc:meta])* $name:ident: $servers:ty = $start:expr, $settled:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl SharedServers for $name {
            type Servers = $servers;

            async fn shared() -> &'static $servers {
                static SHARED: OnceLock<$servers> = OnceLock::new();
                let servers = SHARED.get_or_init(|| $start);
                $settled(servers).await;
                servers
            }
        }
    )*};
}

async fn at_once(_: &Standalone) {}

shared_servers! {
    /// A single server.
    Tcp: Standalone = Standalone::start(Program::Usual, Security::ACL), at_once;
    /// A single server, over TLS.
    TcpTls: Standalone = Standalone::start(Program::Usual, Security::ALL), at_once;
    /// A single server, by a Unix socket.
    Unix: Standalone = Standalone::on_a_socket(), at_once;
    /// A single server that refuses transactions, so that each session is read by a script.
    ByScript: Standalone = without_transactions(), at_once;
    /// The oldest supported Redis.
    Oldest: Standalone = Standalone::start(Program::Oldest, Security::ACL), at_once;
    /// The newest Valkey.
    Valkey: Standalone = Standalone::start(Program::Valkey, Security::ACL), at_once;
    /// Sentinel.
    OnSentinel: Sentinels = sentinels(Security::ACL), Sentinels::settled;
    /// Sentinel, over TLS throughout.
    OnSentinelTls: Sentinels = sentinels(Security::ALL), Sentinels::settled;
    /// A cluster.
    OnCluster: Cluster = a_cluster(Security::ACL), Cluster::settled;
    /// A cluster, over TLS throughout.
    OnClusterTls: Cluster = a_cluster(Security::ALL), Cluster::settled;
}

fn without_transactions() -> Standalone {
    let servers = Standalone::start(Program::Usual, Security::ACL);
    let refuse = ["ACL", "SETUSER", "broker", "-multi"];
    servers.server.ask::<()>(&refuse).unwrap();
    servers
}

fn sentinels(security: Security) -> Sentinels {
    Sentinels::start(&sentinel::Options {
        security,
        down_after: CALM,
        ..sentinel::Options::default()
    })
}

fn a_cluster(security: Security) -> Cluster {
    Cluster::start(&cluster::Options {
        security,
        node_timeout: CALM,
        ..cluster::Options::default()
    })
}
