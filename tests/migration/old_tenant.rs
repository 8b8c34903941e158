//! A Redis with old data, as raw keys and values.

use std::ops::Deref;

use redis::{FromRedisValue, ToRedisArgs, aio::MultiplexedConnection};
use token_broker::{
    store::{
        Sealing,
        redis::maintenance::migration::{LegacyMapping, Migration, Report, progress::Silent},
    },
    types::{ProviderName, RowKey, SessionId, StoredRow},
};

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant};

/// The prefix of the tenant's keys.
pub const P: &str = "thv:auth:{ns:name}:";

/// A tenant with old data, on a Redis of its own.
pub struct OldTenant {
    pub redis: RedisServer,
    tenant: RedisTenant,
    connection: MultiplexedConnection,
}

impl Deref for OldTenant {
    type Target = RedisTenant;

    fn deref(&self) -> &RedisTenant {
        &self.tenant
    }
}

impl OldTenant {
    pub async fn new() -> Self {
        Self::over(RedisServer::start()).await
    }

    pub async fn over(redis: RedisServer) -> Self {
        let connection = redis.connect().await;
        // The store has one connection, so that the proxies see its commands in order.
        let tenant = RedisTenant::called("ns:name", &redis)
            .with("redis-connections", "1")
            .with("redis-timeout", "10s");
        Self {
            redis,
            tenant,
            connection,
        }
    }

    /// Sends one command over the test's own connection.
    pub async fn cmd<T: FromRedisValue>(&self, name: &str, args: &[impl ToRedisArgs]) -> T {
        let mut connection = self.connection.clone();
        let done = redis::cmd(name)
            .arg(args)
            .query_async(&mut connection)
            .await;
        done.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub async fn set(&self, key: &str, value: &str) {
        self.cmd::<()>("SET", &[key, value]).await;
    }

    /// Sets a key that expires after `ms` milliseconds.
    pub async fn set_for(&self, key: &str, value: &str, ms: u64) {
        self.cmd::<()>("SET", &[key, value, "PX", &ms.to_string()])
            .await;
    }

    pub async fn add(&self, set: &str, member: &str) {
        self.cmd::<()>("SADD", &[set, member]).await;
    }

    pub async fn get(&self, key: &str) -> Option<String> {
        self.cmd("GET", &[key]).await
    }

    pub async fn exists(&self, key: &str) -> bool {
        self.cmd("EXISTS", &[key]).await
    }

    pub async fn pttl(&self, key: &str) -> i64 {
        self.cmd("PTTL", &[key]).await
    }

    pub async fn members(&self, key: &str) -> Vec<String> {
        let mut members: Vec<String> = self.cmd("SMEMBERS", &[key]).await;
        members.sort();
        members
    }

    /// Plants an old row of `user` and its member in that user's set, as an old auth server writes
    /// them.
    pub async fn old_row(&self, session: &str, json: &str, user: &str, ms: Option<u64>) {
        let key = format!("{P}upstream:{session}");
        match ms {
            Some(ms) => self.set_for(&key, json, ms).await,
            None => self.set(&key, json).await,
        }
        if !user.is_empty() {
            self.add(&format!("{P}user:upstream:{user}"), &key).await;
        }
    }

    /// Returns a migration with this mapping.
    pub fn migration(&self, mapping: &[&str]) -> Migration {
        let sealing = Sealing::off(self.name().clone());
        Migration::new(&self.store(), mapping_of(mapping), sealing)
    }

    /// Returns a migration through the proxy on `port`.
    pub fn migration_at(&self, port: u16, mapping: &[&str]) -> Migration {
        let sealing = Sealing::off(self.name().clone());
        Migration::new(&self.at_port(port).store(), mapping_of(mapping), sealing)
    }

    /// Runs a migration that must succeed, whatever the report says.
    pub async fn migrate(&self, mapping: &[&str]) -> Report {
        self.migration(mapping).run(&Silent).await.expect("a run")
    }

    /// Reads a row as a broker does. The row must exist.
    pub async fn read(&self, session: &str, provider: &str) -> StoredRow {
        use token_broker::store::Store;
        let read = self.store().get(&row_key(session, provider)).await;
        read.expect("an answer").expect("a row").expect("readable")
    }
}

pub fn mapping_of(pairs: &[&str]) -> LegacyMapping {
    let mut mapping = LegacyMapping::default();
    for pair in pairs {
        mapping.add(pair).unwrap();
    }
    mapping
}

pub fn row_key(session: &str, provider: &str) -> RowKey {
    RowKey {
        session: SessionId::new(session).unwrap(),
        provider: ProviderName::new(provider).unwrap(),
    }
}

/// Returns the JSON of an old row.
pub fn old_json(provider_id: &str, user: &str, token: &str) -> String {
    format!(
        r#"{{"provider_id":"{provider_id}","access_token":"at-{token}","refresh_token":"rt-{token}","id_token":"","expires_at":4102444800,"user_id":"{user}","upstream_subject":"subject","client_id":"client"}}"#
    )
}

/// Returns the value of a text field of a JSON object.
pub fn field(json: &str, name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Checks that a key with `left` ms to live had `of` ms a while ago. The test may have migrated since.
pub fn assert_kept(left: i64, of: u64) {
    let of = i64::try_from(of).unwrap();
    assert!((of - 20_000..=of).contains(&left), "{left} of {of} ms");
}

/// Returns the counts in a report that aren't 0, such as `migrated 3, failed 1`.
pub fn told(report: &Report) -> String {
    let counted =
        |what: &str, counts: &token_broker::store::redis::maintenance::migration::Counts| {
            let json = serde_json::to_value(counts).unwrap();
            let counts = json.as_object().unwrap().iter();
            let counts = counts.filter(|(_, count)| **count != 0);
            counts
                .map(|(name, count)| format!("{what} {name} {count}"))
                .collect::<Vec<_>>()
        };
    let mut all = counted("rows", &report.rows);
    all.extend(counted("identities", &report.identities));
    all.sort();
    all.join(", ")
}
