//! Every setting once: the docs of a field are its `--help`, its name is the flag, the environment
//! variable and the key of the file.

use serde::Deserialize;

use super::text::{Text, pairs};

/// The settings as they are written: text, checked later and all at once.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Address and port to serve gRPC on. Port 0 takes a free one, which the log tells [default: 127.0.0.1:50051]
    #[arg(long, env = "TOKEN_BROKER_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<Text>,
    /// Serve on an address that isn't loopback, in plain text and to any caller: only where the network itself keeps others out [default: false]
    #[arg(long, env = "TOKEN_BROKER_INSECURE_ALLOW_REMOTE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_allow_remote: Option<Text>,
    /// Where tokens are kept: `memory` (gone at exit) or `redis` [default: memory]
    #[arg(long, env = "TOKEN_BROKER_BACKEND", value_name = "BACKEND")]
    pub backend: Option<Text>,
    /// The tenant, NAMESPACE:NAME, whose tokens these are [default: default:default]
    #[arg(long, env = "TOKEN_BROKER_TENANT", value_name = "TENANT")]
    pub tenant: Option<Text>,

    /// Where Redis is: redis://USER@HOST:PORT/DB, unix:///PATH, redis+sentinel://USER@HOST,HOST,HOST/MASTER/DB or redis+cluster://USER@HOST,HOST; rediss for TLS. A password is refused on the command line [default: redis://127.0.0.1:6379]
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Redis"
    )]
    pub redis_url: Option<Text>,
    /// The Redis password; only in the environment or the file
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        help_heading = "Redis"
    )]
    pub redis_password: Option<Text>,
    /// A file that holds the Redis password; read again at every connect
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_PASSWORD_FILE",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_password_file: Option<Text>,
    /// Certificates (PEM) of the authorities that may vouch for Redis; without it those of the system
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_TLS_CA",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_tls_ca: Option<Text>,
    /// The certificate (PEM) that the broker shows to Redis; read again at every connect
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_TLS_CERT",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_tls_cert: Option<Text>,
    /// The private key (PEM) of `redis-tls-cert`
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_TLS_KEY",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_tls_key: Option<Text>,
    /// The name that Redis' certificates must be for; without it the host that is connected to
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_TLS_SERVER_NAME",
        value_name = "NAME",
        help_heading = "Redis"
    )]
    pub redis_tls_server_name: Option<Text>,
    /// The user at the sentinels
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_SENTINEL_USERNAME",
        value_name = "USER",
        help_heading = "Redis"
    )]
    pub redis_sentinel_username: Option<Text>,
    /// The password at the sentinels; only in the environment or the file
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_SENTINEL_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        help_heading = "Redis"
    )]
    pub redis_sentinel_password: Option<Text>,
    /// A file that holds the password at the sentinels; read again at every connect
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_SENTINEL_PASSWORD_FILE",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_sentinel_password_file: Option<Text>,
    /// Whether the sentinels are spoken to over TLS; without it as Redis itself
    #[arg(long, env = "TOKEN_BROKER_REDIS_SENTINEL_TLS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Redis")]
    pub redis_sentinel_tls: Option<Text>,
    /// As `redis-tls-ca`, for the sentinels; without it that one
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_SENTINEL_TLS_CA",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_sentinel_tls_ca: Option<Text>,
    /// As `redis-tls-cert`, for the sentinels; without it that one
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_SENTINEL_TLS_CERT",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_sentinel_tls_cert: Option<Text>,
    /// As `redis-tls-key`, for the sentinels; without it that one
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_SENTINEL_TLS_KEY",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_sentinel_tls_key: Option<Text>,
    /// As `redis-tls-server-name`, for the sentinels
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_SENTINEL_TLS_SERVER_NAME",
        value_name = "NAME",
        help_heading = "Redis"
    )]
    pub redis_sentinel_tls_server_name: Option<Text>,
    /// Connections to Redis, each shared by all callers [default: 2]
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_CONNECTIONS",
        value_name = "N",
        help_heading = "Redis"
    )]
    pub redis_connections: Option<Text>,
    /// How long connecting to Redis may take, and how long a call waits for a connection [default: 1s]
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_CONNECT_TIMEOUT",
        value_name = "SPAN",
        help_heading = "Redis"
    )]
    pub redis_connect_timeout: Option<Text>,
    /// How long an answer from Redis may take [default: 1s]
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_TIMEOUT",
        value_name = "SPAN",
        help_heading = "Redis"
    )]
    pub redis_timeout: Option<Text>,
    /// How long a call waits for a new primary, with Sentinel or Cluster [default: 3s]
    #[arg(
        long,
        env = "TOKEN_BROKER_REDIS_FAILOVER_WAIT",
        value_name = "SPAN",
        help_heading = "Redis"
    )]
    pub redis_failover_wait: Option<Text>,
    /// When a write counts as done: `primary` (Redis has it) or `replicated` (replicas have it too) [default: primary]
    #[arg(
        long,
        env = "TOKEN_BROKER_DURABILITY",
        value_name = "WHEN",
        help_heading = "Redis"
    )]
    pub durability: Option<Text>,
    /// How many replicas must have a write, where it is `replicated` [default: 1]
    #[arg(
        long,
        env = "TOKEN_BROKER_DURABILITY_REPLICAS",
        value_name = "N",
        help_heading = "Redis"
    )]
    pub durability_replicas: Option<Text>,
    /// How long a write waits for them [default: 1s]
    #[arg(
        long,
        env = "TOKEN_BROKER_DURABILITY_TIMEOUT",
        value_name = "SPAN",
        help_heading = "Redis"
    )]
    pub durability_timeout: Option<Text>,
    /// Connections for writes that wait, each for one write at a time [default: 16]
    #[arg(
        long,
        env = "TOKEN_BROKER_DURABILITY_CONNECTIONS",
        value_name = "N",
        help_heading = "Redis"
    )]
    pub durability_connections: Option<Text>,

    /// The provider that rows of an old protocol type belong to, TYPE=PROVIDER, as in oidc=corp-okta; repeatable
    #[arg(
        long,
        env = "TOKEN_BROKER_LEGACY_PROVIDER",
        value_name = "TYPE=PROVIDER",
        value_delimiter = ',',
        help_heading = "Migration"
    )]
    #[serde(deserialize_with = "pairs")]
    pub legacy_provider: Option<Vec<Text>>,
    /// Start although there are rows that can't be migrated; they stay unreadable [default: false]
    #[arg(long, env = "TOKEN_BROKER_ALLOW_UNMIGRATED", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Migration")]
    pub allow_unmigrated: Option<Text>,
    /// How often rows that other software writes in the old layout are looked for, in the grace period [default: 30s]
    #[arg(
        long,
        env = "TOKEN_BROKER_LEGACY_SWEEP_INTERVAL",
        value_name = "SPAN",
        help_heading = "Migration"
    )]
    pub legacy_sweep_interval: Option<Text>,

    /// How long a refresh token lives where the provider doesn't tell; bounds how long rows are kept [default: 30days]
    #[arg(
        long,
        env = "TOKEN_BROKER_REFRESH_LIFETIME",
        value_name = "SPAN",
        help_heading = "Tokens"
    )]
    pub refresh_lifetime: Option<Text>,
    /// A provider that rotates refresh tokens, whose refresh tokens are never carried over from another session; repeatable
    #[arg(
        long,
        env = "TOKEN_BROKER_ROTATING_PROVIDER",
        value_name = "PROVIDER",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    pub rotating_provider: Option<Vec<Text>>,
    /// Bytes of one token at most [default: 32768]
    #[arg(
        long,
        env = "TOKEN_BROKER_MAX_TOKEN_BYTES",
        value_name = "N",
        help_heading = "Limits"
    )]
    pub max_token_bytes: Option<Text>,
    /// Bytes of one row at most [default: 61440]
    #[arg(
        long,
        env = "TOKEN_BROKER_MAX_ROW_BYTES",
        value_name = "N",
        help_heading = "Limits"
    )]
    pub max_row_bytes: Option<Text>,
    /// Providers of one session at most [default: 64]
    #[arg(
        long,
        env = "TOKEN_BROKER_MAX_PROVIDERS",
        value_name = "N",
        help_heading = "Limits"
    )]
    pub max_providers: Option<Text>,
    /// Bytes of one request at most [default: 262144]
    #[arg(
        long,
        env = "TOKEN_BROKER_MAX_MESSAGE_BYTES",
        value_name = "N",
        help_heading = "Limits"
    )]
    pub max_message_bytes: Option<Text>,
    /// Calls in flight at most; more are refused at once [default: 1024]
    #[arg(
        long,
        env = "TOKEN_BROKER_MAX_CALLS",
        value_name = "N",
        help_heading = "Limits"
    )]
    pub max_calls: Option<Text>,
    /// Connections at most; more wait to be accepted [default: 4096]
    #[arg(
        long,
        env = "TOKEN_BROKER_MAX_CONNECTIONS",
        value_name = "N",
        help_heading = "Limits"
    )]
    pub max_connections: Option<Text>,
    /// How long a call may take, whatever its caller allows [default: 10s]
    #[arg(
        long,
        env = "TOKEN_BROKER_CALL_TIMEOUT",
        value_name = "SPAN",
        help_heading = "Limits"
    )]
    pub call_timeout: Option<Text>,
    /// How often a silent connection is pinged [default: 20s]
    #[arg(
        long,
        env = "TOKEN_BROKER_KEEPALIVE_INTERVAL",
        value_name = "SPAN",
        help_heading = "Limits"
    )]
    pub keepalive_interval: Option<Text>,
    /// How long a connection may go without a byte from its client, answers to pings included [default: 60s]
    #[arg(
        long,
        env = "TOKEN_BROKER_IDLE_TIMEOUT",
        value_name = "SPAN",
        help_heading = "Limits"
    )]
    pub idle_timeout: Option<Text>,

    /// How long calls in flight are waited for at shutdown [default: 10s]
    #[arg(
        long,
        env = "TOKEN_BROKER_SHUTDOWN_GRACE",
        value_name = "SPAN",
        help_heading = "Process"
    )]
    pub shutdown_grace: Option<Text>,
    /// How log lines look: `text` or `json` [default: text on a terminal, json elsewhere]
    #[arg(
        long,
        env = "TOKEN_BROKER_LOG_FORMAT",
        value_name = "FORMAT",
        help_heading = "Process"
    )]
    pub log_format: Option<Text>,
    /// What is logged: `error`, `warn`, `info`, `debug` (a line a call) or `trace` [default: info]
    #[arg(
        long,
        env = "TOKEN_BROKER_LOG_LEVEL",
        value_name = "LEVEL",
        help_heading = "Process"
    )]
    pub log_level: Option<Text>,
}

impl Settings {
    /// These settings, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        macro_rules! first {
            ($($field:ident),* $(,)?) => {
                Self { $($field: self.$field.or(other.$field)),* }
            };
        }
        first!(
            listen,
            insecure_allow_remote,
            backend,
            tenant,
            redis_url,
            redis_password,
            redis_password_file,
            redis_tls_ca,
            redis_tls_cert,
            redis_tls_key,
            redis_tls_server_name,
            redis_sentinel_username,
            redis_sentinel_password,
            redis_sentinel_password_file,
            redis_sentinel_tls,
            redis_sentinel_tls_ca,
            redis_sentinel_tls_cert,
            redis_sentinel_tls_key,
            redis_sentinel_tls_server_name,
            redis_connections,
            redis_connect_timeout,
            redis_timeout,
            redis_failover_wait,
            durability,
            durability_replicas,
            durability_timeout,
            durability_connections,
            legacy_provider,
            allow_unmigrated,
            legacy_sweep_interval,
            refresh_lifetime,
            rotating_provider,
            max_token_bytes,
            max_row_bytes,
            max_providers,
            max_message_bytes,
            max_calls,
            max_connections,
            call_timeout,
            keepalive_interval,
            idle_timeout,
            shutdown_grace,
            log_format,
            log_level,
        )
    }
}
