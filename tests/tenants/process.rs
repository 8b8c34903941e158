//! The process and its tenants.

use std::{
    fmt::Write,
    fs,
    net::{SocketAddr, TcpListener},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use testkit::{broker_process::BrokerProcess, redis_server::RedisServer};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::callers::Client;

/// How many tenants there are.
const TENANTS: usize = 200;
/// The tenant that makes as many calls as it can.
pub const FLOODS: &str = "noisy:flood";
/// The tenant whose provider takes connections and never answers.
pub const HANGS: &str = "noisy:hang";
/// The tenant with a row of older software that can't be migrated.
pub const UNMIGRATED: &str = "noisy:old";

/// A broker of all tenants, and its Redis.
pub struct Process {
    broker: BrokerProcess,
    _redis: RedisServer,
    _provider: TcpListener,
    _dir: TempDir,
}

/// Returns the tenants that do nothing unusual.
pub fn others() -> Vec<String> {
    (3..TENANTS)
        .map(|number| format!("quiet:t{number}"))
        .collect()
}

/// Returns the bearer token of a tenant's caller.
pub fn token(tenant: &str) -> String {
    format!("token-of-the-caller-of-{tenant}")
}

impl Process {
    pub async fn start() -> Self {
        let redis = RedisServer::start();
        redis
            .ask::<()>(&[
                "SET",
                &format!("thv:auth:{{{UNMIGRATED}}}:upstream:old"),
                "not a row",
            ])
            .unwrap();
        // It takes connections, in the kernel, and nobody reads them.
        let provider = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = TempDir::new().unwrap();
        let (config, policy) = (
            dir.path().join("broker.toml"),
            dir.path().join("policy.toml"),
        );
        let endpoint = format!("http://{}/token", provider.local_addr().unwrap());
        fs::write(&config, tables(&endpoint)).unwrap();
        fs::write(&policy, callers()).unwrap();
        let url = format!("redis://127.0.0.1:{}", redis.port());
        let (config, policy) = (config.display().to_string(), policy.display().to_string());
        let args = [
            "--backend=redis",
            // A Redis that stands still for a second is one on a busy machine.
            "--redis-timeout=5s",
            "--redis-connect-timeout=5s",
            "--redis-url",
            &url,
            "--config",
            &config,
            "--policy",
            &policy,
        ];
        let broker = BrokerProcess::start(&args);
        broker.serving().await;
        Self {
            broker,
            _redis: redis,
            _provider: provider,
            _dir: dir,
        }
    }

    /// Returns a client of this tenant, with a connection of its own.
    pub async fn client(&self, tenant: &str) -> Client {
        Client::new(tenant, self.broker.connect().await)
    }

    /// Returns where the broker listens.
    pub fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    /// Whether a service of the health is SERVING.
    pub async fn serves(&self, service: &str) -> bool {
        let mut health = HealthClient::new(self.broker.connect().await);
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await;
        answer.unwrap().into_inner().status == 1
    }
}

fn tables(endpoint: &str) -> String {
    let mut text = String::new();
    for tenant in [FLOODS, HANGS, UNMIGRATED]
        .into_iter()
        .map(str::to_owned)
        .chain(others())
    {
        writeln!(
            text,
            "[tenants.\"{tenant}\".providers.idp]\ntoken-endpoint = \"{endpoint}\"\nclient-id = \"c\"\n\
             client-authentication = \"none\""
        )
        .unwrap();
    }
    writeln!(
        text,
        "[tenants.\"{UNMIGRATED}\".legacy-provider]\noidc = \"idp\""
    )
    .unwrap();
    text
}

fn callers() -> String {
    let mut text = String::new();
    for tenant in [FLOODS, HANGS, UNMIGRATED]
        .into_iter()
        .map(str::to_owned)
        .chain(others())
    {
        let hash = Sha256::digest(token(&tenant));
        let hash = hash.iter().fold(String::new(), |mut hash, byte| {
            write!(hash, "{byte:02x}").unwrap();
            hash
        });
        writeln!(
            text,
            "[callers.\"{tenant}\"]\ntenant = \"{tenant}\"\nroles = [\"auth-server\", \"sidecar\"]\nproviders = \"*\"\n\
             bearer-sha256 = [\"{hash}\"]"
        )
        .unwrap();
    }
    text
}
