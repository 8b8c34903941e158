//! A tenant for a test, on a Redis that tests may share.

use std::time::Duration;

use redis::FromRedisValue;
use token_broker::{
    store::{
        Sealed,
        redis::{Redis, RedisStore},
    },
    types::Tenant,
};

use crate::{
    audit,
    broker::{self, Broker},
    deployment::{self, Deployment, Eyes, Setting},
    redis_server::RedisServer,
    sealing,
    snapshot::Snapshot,
};

/// A tenant and the servers that hold its data.
#[derive(Clone)]
pub struct RedisTenant {
    /// The settings for a broker.
    settings: Vec<Setting>,
    eyes: Eyes,
    tenant: Tenant,
}

impl RedisTenant {
    /// Returns a new tenant with a random name, which is migrated already.
    pub fn on(deployment: &impl Deployment) -> Self {
        Self::named(random_name(), deployment).migrated()
    }

    /// Returns the tenant with this name, which no broker has migrated. No other test may use the same servers.
    pub fn called(name: &str, deployment: &impl Deployment) -> Self {
        Self::named(name.parse().unwrap(), deployment)
    }

    fn named(tenant: Tenant, deployment: &impl Deployment) -> Self {
        let spans = ["redis-connect-timeout", "redis-timeout"].map(|name| (name, "5s".to_owned()));
        Self {
            settings: spans.into_iter().chain(deployment.settings()).collect(),
            eyes: deployment.eyes(),
            tenant,
        }
    }

    /// Returns a new tenant on a cluster of one node.
    pub fn on_cluster(server: &RedisServer) -> Self {
        let url = format!("redis+cluster://127.0.0.1:{}", server.port());
        Self::on(server).with("redis-url", &url)
    }

    /// Returns the same tenant, reached through a proxy on `port`.
    pub fn at_port(&self, port: u16) -> Self {
        let mut settings = self.settings.iter().rev();
        let (_, url) = settings.find(|(name, _)| *name == "redis-url").unwrap();
        let (scheme, _) = url.split_once("://").unwrap();
        let url = format!("{scheme}://127.0.0.1:{port}");
        self.clone().with("redis-url", &url)
    }

    /// Returns another new tenant on the same servers.
    pub fn another(&self) -> Self {
        Self {
            tenant: random_name(),
            ..self.clone()
        }
        .migrated()
    }

    /// Notes that the tenant is migrated and has no grace period, as a broker does when it first starts.
    #[must_use]
    pub fn migrated(self) -> Self {
        let record = r#"{"mapping":{},"completed_at":1,"number":1}"#;
        self.run::<()>(&["SET", &self.key("broker:migration"), record]);
        self
    }

    /// Returns the same tenant, for brokers with one more setting.
    #[must_use]
    pub fn with(mut self, setting: &'static str, value: &str) -> Self {
        self.settings.push((setting, value.to_owned()));
        self
    }

    /// Returns the tenant's name.
    pub fn name(&self) -> &Tenant {
        &self.tenant
    }

    /// Returns the store of a new broker, with connections of its own.
    pub fn store(&self) -> RedisStore {
        self.redis().tenant(&self.tenant)
    }

    /// Returns a store with this timeout for connecting and for each answer.
    pub fn store_with(&self, timeout: Duration) -> RedisStore {
        let span = format!("{}ms", timeout.as_millis());
        let tenant = self.clone().with("redis-connect-timeout", &span);
        tenant.with("redis-timeout", &span).store()
    }

    /// Returns the tenant's Redis as a new process would open it.
    pub fn redis(&self) -> Redis {
        let settings = deployment::settings(self.settings.iter().cloned());
        Redis::new(settings.resolve().unwrap().redis)
    }

    /// Returns a new broker of the tenant.
    pub fn broker(&self) -> Broker<RedisStore> {
        Broker::new(self.store(), broker::rules(self.tenant.clone()))
    }

    /// Returns the store of a new broker that has these sealing keys, of which the first seals. Without any, nothing is
    /// sealed.
    pub fn sealed_store(&self, keys: &[&str]) -> Sealed<RedisStore> {
        Sealed::new(self.store(), sealing::sealing(&self.tenant, keys))
    }

    /// Returns a new broker of the tenant that has these sealing keys.
    pub fn sealed_broker(&self, keys: &[&str]) -> Broker<Sealed<RedisStore>> {
        let rules = broker::rules(self.tenant.clone());
        Broker::new(self.sealed_store(keys), rules)
    }

    /// Returns the prefix of all keys of the tenant (guarantees, section 3).
    pub fn prefix(&self) -> String {
        format!("thv:auth:{{{}}}:", self.tenant)
    }

    /// Returns a key of the tenant.
    pub fn key(&self, rest: &str) -> String {
        self.prefix() + rest
    }

    /// Opens a connection for the test to the server that currently holds the tenant.
    pub fn raw(&self) -> redis::Connection {
        (self.eyes)(&self.prefix())
    }

    /// Runs a command as other software would.
    pub fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let mut cmd = redis::cmd(command[0]);
        for arg in &command[1..] {
            cmd.arg(*arg);
        }
        cmd.query(&mut self.raw()).unwrap()
    }

    /// Overwrites the text of a row as other software would. The key keeps its expiry.
    pub fn write_row(&self, rest: &str, text: &str) {
        self.run::<()>(&["SET", &self.key(rest), text, "KEEPTTL"]);
    }

    /// Returns a snapshot of everything that Redis holds of the tenant, without the record of its migration.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::take(&mut self.raw(), &self.prefix());
        snapshot.0.remove(self.key("broker:migration").as_bytes());
        snapshot
    }

    /// Returns a snapshot of everything on the tenant's Redis, including other tenants.
    pub fn snapshot_of_all(&self) -> Snapshot {
        Snapshot::take(&mut self.raw(), "")
    }

    /// Checks the invariants in Redis (guarantees, section 3.2). Panics if one is violated.
    pub fn audit(&self) {
        let wrong = audit::violations(&self.snapshot(), &self.prefix());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn random_name() -> Tenant {
    let name = format!("t-{:012x}:conf", rand::random::<u64>() >> 16);
    name.parse().unwrap()
}
