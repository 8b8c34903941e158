//! The configuration: [`Settings`] as the operator writes them, [`Config`] as the program uses them.
//!
//! A flag overrides an environment variable, and a variable overrides the file. All mistakes are
//! collected and reported together, each with the name of its setting.
//!
//! Each setting is declared once, in the file of its subject in `settings/`. `written.rs` holds the
//! texts from one or several sources. `command_line.rs` and `file.rs` fill these texts in; `value.rs`
//! and `syntax.rs` parse them.

mod at_fault;
mod command_line;
mod file;
mod problem;
mod redis;
mod redis_url;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;
mod value;
mod written;

use std::net::SocketAddr;

use self::settings::{Reader, Subjects};
pub use self::{
    at_fault::explain,
    file::read,
    problem::Problem,
    settings::{Backend, LogFormat, LogSettings, MigrationSettings, ServerOptions},
    written::Settings,
};
use crate::{
    store::redis::RedisOptions,
    tokens::{Limits, Rules},
    types::Tenant,
};

/// The program's configuration, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to serve on.
    pub listen: SocketAddr,
    /// Where the broker keeps tokens.
    pub backend: Backend,
    /// The tenant that the tokens belong to.
    pub tenant: Tenant,
    /// How to reach Redis, for [`Backend::Redis`].
    pub redis: RedisOptions,
    /// What to do with the data of older software.
    pub migration: MigrationSettings,
    /// The rules and limits for the tokens.
    pub rules: Rules,
    /// The limits and timeouts for clients.
    pub server: ServerOptions,
    /// How to log.
    pub log: LogSettings,
}

impl Settings {
    /// Checks all settings and turns them into a configuration.
    ///
    /// # Errors
    /// Returns every [`Problem`] that was found.
    pub fn resolve(self) -> Result<Config, Vec<Problem>> {
        let mut reader = Reader::new(&self);
        let read = Subjects::read(&mut reader);
        let mut problems = reader.problems;

        read.listen.check(&mut problems);
        read.server.check(&read.limits, &mut problems);
        let redis = redis::options(
            read.redis,
            read.sentinel,
            &read.link,
            &read.durability,
            read.server.max_calls,
            &mut problems,
        );
        problems.none_or_all()?;

        let rules = Rules {
            tenant: read.storage.tenant.clone(),
            limits: Limits {
                token_bytes: read.limits.max_token_bytes,
                row_bytes: read.limits.max_row_bytes,
                providers: read.limits.max_providers,
            },
            refresh_lifetime: read.tokens.refresh_lifetime,
            rotating_providers: read.tokens.rotating_provider,
            patience: redis.patience(),
        };
        Ok(Config {
            listen: read.listen.listen,
            backend: read.storage.backend,
            tenant: read.storage.tenant,
            redis,
            migration: read.migration,
            rules,
            server: read.server,
            log: read.log,
        })
    }
}
