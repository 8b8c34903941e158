//! A tenant of its own for a test, on a Redis that others may share.

use std::time::Duration;

use redis::FromRedisValue;
use token_broker::{
    store::redis::{Redis, RedisStore},
    types::Tenant,
};

use crate::{
    audit,
    broker::{self, Broker},
    deployment::{self, Deployment, Eyes, Setting},
    redis_server::RedisServer,
    snapshot::Snapshot,
};

/// A tenant and where it lives.
#[derive(Clone)]
pub struct RedisTenant {
    /// What a broker is given.
    settings: Vec<Setting>,
    eyes: Eyes,
    tenant: Tenant,
}

impl RedisTenant {
    /// A new tenant, of a random name.
    pub fn on(deployment: &impl Deployment) -> Self {
        Self::named(random_name(), deployment)
    }

    /// The tenant of this name, which no other test shares the servers with.
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

    /// A new tenant on a cluster of one node.
    pub fn on_cluster(server: &RedisServer) -> Self {
        let url = format!("redis+cluster://127.0.0.1:{}", server.port());
        Self::on(server).with("redis-url", &url)
    }

    /// The same tenant behind a proxy on `port`.
    pub fn at_port(&self, port: u16) -> Self {
        let mut settings = self.settings.iter().rev();
        let (_, url) = settings.find(|(name, _)| *name == "redis-url").unwrap();
        let (scheme, _) = url.split_once("://").unwrap();
        let url = format!("{scheme}://127.0.0.1:{port}");
        self.clone().with("redis-url", &url)
    }

    /// Another new tenant beside this one.
    pub fn another(&self) -> Self {
        Self {
            tenant: random_name(),
            ..self.clone()
        }
    }

    /// The same tenant, by brokers that have another setting.
    #[must_use]
    pub fn with(mut self, setting: &'static str, value: &str) -> Self {
        self.settings.push((setting, value.to_owned()));
        self
    }

    /// Its name.
    pub fn name(&self) -> &Tenant {
        &self.tenant
    }

    /// A store as one more broker has it, with connections of its own.
    pub fn store(&self) -> RedisStore {
        self.redis().tenant(&self.tenant)
    }

    /// A store that waits so long at most, to connect and for an answer.
    pub fn store_with(&self, timeout: Duration) -> RedisStore {
        let span = format!("{}ms", timeout.as_millis());
        let tenant = self.clone().with("redis-connect-timeout", &span);
        tenant.with("redis-timeout", &span).store()
    }

    /// The tenant's Redis as one more process has it.
    pub fn redis(&self) -> Redis {
        let settings = deployment::settings(self.settings.iter().cloned());
        Redis::new(settings.resolve().unwrap().redis)
    }

    /// One more broker of the tenant.
    pub fn broker(&self) -> Broker<RedisStore> {
        Broker::new(self.store(), broker::rules(self.tenant.clone()))
    }

    /// What all of its keys begin with (guarantees, section 3).
    pub fn prefix(&self) -> String {
        format!("thv:auth:{{{}}}:", self.tenant)
    }

    /// One of its keys.
    pub fn key(&self, rest: &str) -> String {
        self.prefix() + rest
    }

    /// A connection of the test's own to where the tenant is right now.
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

    /// Writes the text of a row as other software would: the life of the key stays.
    pub fn write_row(&self, rest: &str, text: &str) {
        self.run::<()>(&["SET", &self.key(rest), text, "KEEPTTL"]);
    }

    /// All that Redis holds of it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&mut self.raw(), &self.prefix())
    }

    /// All that its Redis holds, also of others.
    pub fn snapshot_of_all(&self) -> Snapshot {
        Snapshot::take(&mut self.raw(), "")
    }

    /// Checks that what always holds is so in Redis (guarantees, section 3.2).
    pub fn audit(&self) {
        let wrong = audit::violations(&self.snapshot(), &self.prefix());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn random_name() -> Tenant {
    let name = format!("t-{:012x}:conf", rand::random::<u64>() >> 16);
    name.parse().unwrap()
}
