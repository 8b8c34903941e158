//! A Redis with old data in it, as the tests see it: raw keys and values.

use std::collections::BTreeMap;

use redis::{FromRedisValue, ToRedisArgs, aio::MultiplexedConnection};
use token_broker::{
    config::Settings,
    store::redis::{
        RedisStore,
        maintenance::migration::{LegacyMapping, Migration, Report, progress::Silent},
    },
    types::{ProviderName, RowKey, SessionId, StoredRow},
};

use crate::redis_server::RedisServer;

/// What the keys of the tenant begin with.
pub const P: &str = "thv:auth:{ns:name}:";

pub struct World {
    pub redis: RedisServer,
    connection: MultiplexedConnection,
}

/// What a key holds, in a form that can be compared, and when it ends: ms after the epoch, -1 never.
#[derive(Clone, Debug)]
pub struct Held {
    pub value: Vec<String>,
    pub ends: i64,
}

/// Before Redis 7 the end is computed from a clock and a span that are read one after the other.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value && (self.ends - other.ends).abs() <= 50
    }
}

impl World {
    pub async fn new() -> Self {
        Self::over(RedisServer::start()).await
    }

    pub async fn over(redis: RedisServer) -> Self {
        let connection = redis.connect().await;
        Self { redis, connection }
    }

    /// One command, over the test's own connection.
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

    /// With so many ms to live.
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

    /// An old row of `user` and its place in that user's set, as an old auth server leaves them.
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

    /// Everything in the database.
    pub async fn dump(&self) -> BTreeMap<String, Held> {
        const SCRIPT: &str = r"
            local all = {}
            for _, key in ipairs(redis.call('KEYS', '*')) do
              local kind, value = redis.call('TYPE', key).ok
              if kind == 'string' then value = { redis.call('GET', key) }
              elseif kind == 'set' then value = redis.call('SMEMBERS', key); table.sort(value)
              else value = { redis.call('DUMP', key) } end
              local ends = redis.pcall('PEXPIRETIME', key)
              if type(ends) == 'table' then -- before Redis 7, where the clock goes on meanwhile
                local time = redis.call('TIME')
                ends = redis.call('PTTL', key)
                if ends >= 0 then ends = time[1] * 1000 + math.floor(time[2] / 1000) + ends end
              end
              all[#all + 1] = { key, ends, value }
            end
            return all";
        let dumped: Vec<(Vec<u8>, i64, Vec<Vec<u8>>)> = self.cmd("EVAL", &[SCRIPT, "0"]).await;
        let text = |bytes: &Vec<u8>| match str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.escape_ascii().to_string(),
        };
        dumped
            .into_iter()
            .map(|(key, ends, value)| {
                let value = value.iter().map(text).collect();
                (text(&key), Held { value, ends })
            })
            .collect()
    }

    pub fn store(&self) -> RedisStore {
        store_on(self.redis.port())
    }

    pub fn migration(&self, mapping: &[&str]) -> Migration {
        migration_on(self.redis.port(), mapping)
    }

    /// A run that is to succeed, whatever the report says.
    pub async fn migrate(&self, mapping: &[&str]) -> Report {
        self.migration(mapping).run(&Silent).await.expect("a run")
    }

    /// A row as a broker reads it, which is to be there.
    pub async fn read(&self, session: &str, provider: &str) -> StoredRow {
        use token_broker::store::Store;
        let read = self.store().get(&row_key(session, provider)).await;
        read.expect("an answer").expect("a row").expect("readable")
    }
}

pub fn store_on(port: u16) -> RedisStore {
    let url = format!("redis://127.0.0.1:{port}");
    let settings = Settings::from_pairs([
        ("redis-url", url.as_str()),
        ("redis-connections", "1"),
        ("redis-connect-timeout", "300ms"),
        ("redis-timeout", "10s"),
    ]);
    let options = settings.unwrap().resolve().unwrap().redis;
    RedisStore::new(&"ns:name".parse().unwrap(), options)
}

pub fn migration_on(port: u16, mapping: &[&str]) -> Migration {
    Migration::new(&store_on(port), mapping_of(mapping))
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

/// The JSON of an old row.
pub fn old_json(provider_id: &str, user: &str, token: &str) -> String {
    format!(
        r#"{{"provider_id":"{provider_id}","access_token":"at-{token}","refresh_token":"rt-{token}","id_token":"","expires_at":4102444800,"user_id":"{user}","upstream_subject":"subject","client_id":"client"}}"#
    )
}

/// The value of a field of a JSON object that is text.
pub fn field(json: &str, name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    value[name].as_str().unwrap_or_default().to_owned()
}

/// That `left` ms are those of a key that had `of` a short while ago.
pub fn assert_kept(left: i64, of: u64) {
    let of = i64::try_from(of).unwrap();
    assert!((of - 5_000..=of).contains(&left), "{left} of {of} ms");
}

/// Counts of a report's rows that aren't 0, as in `migrated 3, failed 1`.
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
