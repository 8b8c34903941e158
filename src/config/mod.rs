//! Configuration: [`Settings`] as they are written, [`Config`] as the program uses it.
//!
//! A flag counts before an environment variable, and that before the file. All mistakes are
//! collected and told together, each with the name of its setting.

mod file;
mod parse;
mod redis;
mod redis_url;
mod settings;
#[cfg(test)]
mod tests;
mod text;

use std::{net::SocketAddr, time::Duration};

use self::parse::Problems;
pub use self::{file::read, parse::has_password, settings::Settings, text::Text};
use crate::{
    server::ServerOptions,
    store::redis::{RedisOptions, maintenance::migration::LegacyMapping},
    tokens::{Limits, Rules},
    types::Tenant,
};

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {message}")]
pub struct Problem {
    /// The name of the setting.
    pub setting: String,
    /// What is wrong and what would be right; never the value of a secret.
    pub message: String,
}

/// The program's configuration, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve.
    pub listen: SocketAddr,
    /// Where tokens are kept.
    pub backend: Backend,
    /// Whose tokens.
    pub tenant: Tenant,
    /// Redis, for the backend of that name.
    pub redis: RedisOptions,
    /// The providers of old protocol types.
    pub legacy: LegacyMapping,
    /// Start in spite of rows that can't be migrated.
    pub allow_unmigrated: bool,
    /// How often to look for rows in the old layout.
    pub legacy_sweep_interval: Duration,
    /// What tokens are kept by.
    pub rules: Rules,
    /// How clients are treated.
    pub server: ServerOptions,
    /// How to log.
    pub log: Log,
}

/// Where tokens are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In this process.
    Memory,
    /// In Redis.
    Redis,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// One JSON object a line, or text; `None`: text on a terminal, JSON elsewhere.
    pub json: Option<bool>,
    /// What is logged.
    pub level: tracing::Level,
}

impl Settings {
    /// Checks all settings.
    ///
    /// # Errors
    /// Every [`Problem`] there is.
    pub fn resolve(mut self) -> Result<Config, Vec<Problem>> {
        let mut problems = Problems::default();
        let p = &mut problems;

        let redis = p.redis(&mut self);
        let listen = p.address("listen", self.listen, "127.0.0.1:50051");
        let remote = p.boolean("insecure-allow-remote", self.insecure_allow_remote);
        if !listen.ip().is_loopback() && !remote {
            p.add(
                "listen",
                "is not a loopback address, and calls are neither encrypted nor authenticated; \
                 set insecure-allow-remote if the network itself keeps others out",
            );
        }
        let backend = p.choice(
            "backend",
            self.backend,
            "memory",
            &[("memory", Backend::Memory), ("redis", Backend::Redis)],
        );
        let tenant: Tenant = p.parsed("tenant", self.tenant, "default:default");
        let legacy = p.legacy("legacy-provider", self.legacy_provider.unwrap_or_default());
        let allow_unmigrated = p.boolean("allow-unmigrated", self.allow_unmigrated);
        let legacy_sweep_interval =
            p.span("legacy-sweep-interval", self.legacy_sweep_interval, "30s");

        let limits = Limits {
            token_bytes: p.number(
                "max-token-bytes",
                self.max_token_bytes,
                "32768",
                1..=LARGEST,
            ),
            row_bytes: p.number("max-row-bytes", self.max_row_bytes, "61440", 1..=LARGEST),
            providers: p.number("max-providers", self.max_providers, "64", 1..=1024),
        };
        let rules = Rules {
            tenant: tenant.clone(),
            limits,
            refresh_lifetime: p.span("refresh-lifetime", self.refresh_lifetime, "30days"),
            rotating_providers: p.providers("rotating-provider", self.rotating_provider),
        };
        let server = ServerOptions {
            max_calls: p.number("max-calls", self.max_calls, "1024", 1..=1_000_000),
            max_connections: p.number(
                "max-connections",
                self.max_connections,
                "4096",
                1..=1_000_000,
            ),
            max_message_bytes: p.number(
                "max-message-bytes",
                self.max_message_bytes,
                "262144",
                1..=LARGEST,
            ),
            call_timeout: p.span("call-timeout", self.call_timeout, "10s"),
            keepalive_interval: p.span("keepalive-interval", self.keepalive_interval, "20s"),
            idle_timeout: p.span("idle-timeout", self.idle_timeout, "60s"),
            shutdown_grace: p.span("shutdown-grace", self.shutdown_grace, "10s"),
        };
        if server.idle_timeout <= server.keepalive_interval {
            p.add(
                "idle-timeout",
                "must be longer than keepalive-interval, or live connections end",
            );
        }
        if server.max_message_bytes < limits.row_bytes + FRAMING {
            p.add(
                "max-message-bytes",
                format!("must be max-row-bytes and {FRAMING} more, or full rows can't be stored"),
            );
        }
        let log = Log {
            json: self.log_format.map(|format| {
                p.choice(
                    "log-format",
                    Some(format),
                    "json",
                    &[("text", false), ("json", true)],
                )
            }),
            level: p.choice("log-level", self.log_level, "info", &LEVELS),
        };

        problems.none_or_all()?;
        Ok(Config {
            listen,
            backend,
            tenant,
            redis,
            legacy,
            allow_unmigrated,
            legacy_sweep_interval,
            rules,
            server,
            log,
        })
    }
}

/// What a request to store a row is larger than the row at most: its ids, and protobuf's framing.
const FRAMING: usize = 2048;

/// The largest thing that a limit may allow, in bytes: a protobuf message is below 2 GiB.
const LARGEST: usize = 1 << 30;

const LEVELS: [(&str, tracing::Level); 5] = [
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];
