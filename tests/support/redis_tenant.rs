//! A tenant of its own for a test, on a Redis that others may share.

use std::time::Duration;

use redis::FromRedisValue;
use token_broker::{config::Settings, store::redis::RedisStore, types::Tenant};

use super::{
    audit,
    broker::{self, Broker},
    redis_server::RedisServer,
    snapshot::Snapshot,
};

/// A tenant and where it lives.
#[derive(Clone, Debug)]
pub struct RedisTenant {
    url: String,
    /// What a broker is given.
    broker_url: String,
    tenant: Tenant,
}

impl RedisTenant {
    /// A new tenant, of a random name, on `server`.
    pub fn on(server: &RedisServer) -> Self {
        let name = format!("t-{:012x}:conf", rand::random::<u64>() >> 16);
        Self {
            url: server.url(),
            broker_url: server.url(),
            tenant: name.parse().unwrap(),
        }
    }

    /// A new tenant on a cluster of one node.
    pub fn on_cluster(server: &RedisServer) -> Self {
        let broker_url = format!("redis+cluster://127.0.0.1:{}", server.port());
        Self {
            broker_url,
            ..Self::on(server)
        }
    }

    /// The same tenant behind a proxy on `port`.
    pub fn at_port(&self, port: u16) -> Self {
        let (scheme, _) = self.broker_url.split_once("://").unwrap();
        Self {
            broker_url: format!("{scheme}://127.0.0.1:{port}"),
            ..self.clone()
        }
    }

    /// Another new tenant beside this one.
    pub fn another(&self) -> Self {
        let name = format!("t-{:012x}:conf", rand::random::<u64>() >> 16);
        Self {
            tenant: name.parse().unwrap(),
            ..self.clone()
        }
    }

    /// Its name.
    pub fn name(&self) -> &Tenant {
        &self.tenant
    }

    /// A store as one more broker has it, with connections of its own.
    pub fn store(&self) -> RedisStore {
        self.store_with(Duration::from_secs(5))
    }

    /// A store that waits so long at most, to connect and for an answer.
    pub fn store_with(&self, timeout: Duration) -> RedisStore {
        let span = format!("{}ms", timeout.as_millis());
        let settings = Settings {
            redis_url: Some(self.broker_url.as_str().into()),
            redis_connect_timeout: Some(span.as_str().into()),
            redis_timeout: Some(span.as_str().into()),
            ..Settings::default()
        };
        let options = settings.resolve().unwrap().redis;
        RedisStore::new(&self.tenant, options)
    }

    /// One more broker of the tenant.
    pub fn broker(&self) -> Broker<RedisStore> {
        Broker::new(self.store(), broker::policy(self.tenant.clone()))
    }

    /// What all of its keys begin with (contract section 3).
    pub fn prefix(&self) -> String {
        format!("thv:auth:{{{}}}:", self.tenant)
    }

    /// One of its keys.
    pub fn key(&self, rest: &str) -> String {
        self.prefix() + rest
    }

    /// A connection of the test's own.
    pub fn raw(&self) -> redis::Connection {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        client.get_connection().unwrap()
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

    /// Checks what Redis holds of it against contract section 3.2.
    pub fn audit(&self) {
        let wrong = audit::violations(&self.snapshot(), &self.prefix());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
