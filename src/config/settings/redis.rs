//! The settings of Redis: how to reach it, and when a write to it counts as done.

use std::{path::PathBuf, time::Duration};

use crate::{
    config::{
        redis_url::{self, RedisUrl},
        syntax::{Syntax, boolean, choice, file, number, span_from, text},
    },
    store::redis::Password,
    types::Secret,
};

/// The shortest time that a server may have. With less, no call would succeed.
const SHORTEST: Duration = Duration::from_millis(10);

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum WriteIsDone {
    OnThePrimary,
    OnReplicas,
}

const WHEN: [(&str, WriteIsDone); 2] = [
    ("primary", WriteIsDone::OnThePrimary),
    ("replicated", WriteIsDone::OnReplicas),
];

settings! {
    /// Where Redis is, and how to connect to its servers.
    #[derive(Debug)]
    pub(in crate::config) struct RedisSettings in "Redis" {
        /// Where Redis is: redis://USER@HOST:PORT/DB, unix:///PATH,
        /// redis+sentinel://USER@HOST,HOST,HOST/MASTER/DB or redis+cluster://USER@HOST,HOST; rediss
        /// for TLS. A password is refused on the command line
        redis_url: RedisUrl = Syntax::trimmed("URL", RedisUrl::parse)
            .default("redis://127.0.0.1:6379")
            .secret_if(
                redis_url::has_password,
                redis_url::without_password,
                Self::redis_password_file,
            );
        /// The Redis user, if the URL names none; if unset, the user `default`
        redis_username: Option<String> = text("USER").optional();
        /// The Redis password; only in the environment or the file
        redis_password: Option<Password> = password().optional().secret(Self::redis_password_file);
        /// A file that holds the Redis password; read again at every connect
        redis_password_file: Option<PathBuf> = file().optional();
        /// Certificates (PEM) of the authorities that may vouch for Redis; if unset, the system's
        /// authorities
        redis_tls_ca: Option<PathBuf> = file().optional();
        /// The certificate (PEM) that the broker presents to Redis; read again at every connect
        redis_tls_cert: Option<PathBuf> = file().optional();
        /// The private key (PEM) of `redis-tls-cert`
        redis_tls_key: Option<PathBuf> = file().optional();
        /// The name that Redis' certificates must be for; if unset, the host that the broker connects
        /// to
        redis_tls_server_name: Option<String> = text("NAME").optional();
    }
}

settings! {
    /// How to connect to the sentinels.
    #[derive(Debug)]
    pub(in crate::config) struct SentinelSettings in "Redis" {
        /// The user name for the sentinels
        redis_sentinel_username: Option<String> = text("USER").optional();
        /// The password for the sentinels; only in the environment or the file
        redis_sentinel_password: Option<Password> =
            password().optional().secret(Self::redis_sentinel_password_file);
        /// A file that holds the password for the sentinels; read again at every connect
        redis_sentinel_password_file: Option<PathBuf> = file().optional();
        /// Whether to connect to the sentinels over TLS; if unset, the broker uses TLS for them if it
        /// does for Redis
        redis_sentinel_tls: Option<bool> = boolean().optional();
        /// Like `redis-tls-ca`, for the sentinels; if unset, the value of `redis-tls-ca`
        redis_sentinel_tls_ca: Option<PathBuf> = file().optional();
        /// Like `redis-tls-cert`, for the sentinels; if unset, the value of `redis-tls-cert`
        redis_sentinel_tls_cert: Option<PathBuf> = file().optional();
        /// Like `redis-tls-key`, for the sentinels; if unset, the value of `redis-tls-key`
        redis_sentinel_tls_key: Option<PathBuf> = file().optional();
        /// Like `redis-tls-server-name`, for the sentinels
        redis_sentinel_tls_server_name: Option<String> = text("NAME").optional();
    }
}

settings! {
    /// The connections to Redis, and how long to wait for it.
    #[derive(Debug)]
    pub(in crate::config) struct LinkSettings in "Redis" {
        /// Number of connections to Redis for reads, which all callers share; there are as many for
        /// writes, and as many for large reads and scripts that read together. Each worker has a part
        /// of them, at least one of each kind
        redis_connections: u32 = number(1..=64).default("2");
        /// How long connecting to Redis may take, and how long a call waits for a connection
        redis_connect_timeout: Duration = span_from(SHORTEST).default("1s");
        /// How long an answer from Redis may take
        redis_timeout: Duration = span_from(SHORTEST).default("1s");
        /// How long a call waits for a new primary, with Sentinel or Cluster
        redis_failover_wait: Duration = span_from(SHORTEST).default("3s");
    }
}

settings! {
    /// When a write counts as done.
    #[derive(Debug)]
    pub(in crate::config) struct DurabilitySettings in "Redis" {
        /// When a write counts as done: `primary` (Redis has it) or `replicated` (replicas have it
        /// too)
        durability: WriteIsDone = choice("WHEN", &WHEN).default("primary");
        /// How many replicas must have a write before it counts as done, if `durability` is
        /// `replicated`
        durability_replicas: u32 = number(1..=100).default("1");
        /// How long a write waits for the replicas
        durability_timeout: Duration = span_from(SHORTEST).default("1s");
        /// Number of connections for writes that wait for replicas; each carries one write at a time
        durability_connections: u32 = number(1..=1024).default("16");
    }
}

/// Reads a password.
fn password() -> Syntax<Password> {
    Syntax::verbatim("PASSWORD", |text| {
        // Nobody means the line break that `echo` adds, and Redis would say only that the password is wrong.
        if text.ends_with(['\r', '\n']) {
            return Err(
                "ends in a line break, which would be part of the password: take it away, or use a file, \
                 whose last line break doesn't count"
                    .to_owned(),
            );
        }
        let password = Secret::new(text.to_owned()).map(Password::Fixed);
        password.ok_or_else(|| "must be a password, or unset".to_owned())
    })
}
