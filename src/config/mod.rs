//! The configuration: [`Settings`] as the operator writes them, [`Config`] as the program uses them.
//!
//! A flag overrides an environment variable, and a variable overrides the file. All mistakes are
//! collected and reported together, each with the name of its setting.
//!
//! Each setting is declared once, in the file of its subject in `settings/`. `written.rs` holds the
//! texts from one or several sources. `command_line.rs` and `file.rs` fill these texts in; `value.rs`
//! and `syntax.rs` parse them. `together.rs` finds settings that have no effect or contradict each other.
//! `variables.rs` finds variables of the environment that name no setting, and `listed.rs` shows what came
//! out. `providers.rs` reads the tables of providers, whose settings are in the file alone, and `presets.toml` has what
//! is known of common ones.

pub mod address;
mod at_fault;
mod command_line;
mod file;
mod listed;
mod listen;
mod nearest;
mod policy;
mod problem;
mod providers;
mod quotes;
mod redis;
mod redis_url;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;
mod together;
mod value;
mod variables;
mod written;

use std::{net::SocketAddr, time::Duration};

use self::settings::{ListenSettings, Reader, Subject, Subjects};
pub use self::{
    file::read,
    listed::{listed_presets, provider_settings},
    listen::{Listen, ListenOptions},
    nearest::meant,
    policy::{PolicyFile, PolicyText},
    problem::Problem,
    settings::{Backend, LogFormat, LogSettings, MemoryLock, MigrationSettings, ServerOptions},
    variables::unknown_variables,
    written::Settings,
};
use crate::{
    access::Guard,
    refresh::Providers,
    store::redis::RedisOptions,
    tokens::{Limits, Rules},
    types::Tenant,
};

/// The program's configuration, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve, for whom, and how.
    pub listen: ListenOptions,
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
    /// Who may call. `None`: anybody.
    pub policy: Option<PolicyAtStart>,
    /// How to log.
    pub log: LogSettings,
    /// Whether memory is kept out of swap.
    pub memory_lock: MemoryLock,
    /// What the operator should know about these settings, although the broker can work with them.
    pub warnings: Vec<Problem>,
}

/// The policy that a broker starts with.
#[derive(Clone, Debug)]
pub struct PolicyAtStart {
    /// Its file, which may change.
    pub file: PolicyFile,
    /// What the file held.
    pub text: PolicyText,
    /// The guard that holds it.
    pub guard: Guard,
}

impl PolicyAtStart {
    fn read(file: PolicyFile) -> Result<Self, Vec<Problem>> {
        let text = file.read().map_err(|problem| vec![problem])?;
        let guard = Guard::of(file.parse(&text)?);
        Ok(Self { file, text, guard })
    }
}

/// Parses a span of time that is no setting.
///
/// # Errors
/// Returns what is wrong with it, without quoting it.
pub fn span(text: &str) -> Result<Duration, String> {
    syntax::parse_span(text).map_err(|hint| format!("must be a span of time, {hint}"))
}

impl Settings {
    /// Returns where a broker with these settings serves, and where it serves health in plain text, if it does. Looks at no
    /// other setting.
    ///
    /// # Errors
    /// Returns every [`Problem`] that keeps the address from being known.
    pub fn listens_on(&self) -> Result<(Listen, Option<SocketAddr>), Vec<Problem>> {
        let mut reader = Reader::new(self);
        let listen = ListenSettings::read(&mut reader);
        let names = [ListenSettings::listen, ListenSettings::health_listen];
        let mut problems = reader.problems.take();
        problems.retain(|problem| names.contains(&problem.setting.as_str()));
        if !names.iter().any(|name| self.is_set(name)) {
            problems.extend_from_slice(self.problems());
        }
        if problems.is_empty() {
            Ok((listen.listen, listen.health_listen))
        } else {
            Err(problems)
        }
    }

    /// Checks all settings and turns them into a configuration.
    ///
    /// # Errors
    /// Returns every [`Problem`] that was found.
    pub fn resolve(self) -> Result<Config, Vec<Problem>> {
        let named = |problems: Vec<Problem>| -> Result<(), Vec<Problem>> {
            let named: Vec<_> = problems
                .into_iter()
                .map(|problem| self.named(problem))
                .collect();
            if named.is_empty() { Ok(()) } else { Err(named) }
        };
        let mut reader = Reader::new(&self);
        reader.problems.extend(self.problems());
        let read = Subjects::read(&mut reader);
        let mut problems = reader.problems;
        if !self.problems().is_empty() {
            // What is missing because of a mistake would be a second, false one. Other tables are told apart from it.
            providers::resolve(&self, &mut problems, &mut Vec::new());
            named(problems.take())?;
        }

        let backend = together::backend(&self, &read);
        together::check(&self, &read, backend, &mut problems);
        let mut warnings = together::warnings(&read);
        let listen = listen::options(&self, read.listen, read.tls, &mut problems);
        read.server.check(&read.limits, &mut problems);
        warnings.extend(quotes::warnings(&self));
        let redis = redis::options(
            read.redis,
            read.sentinel,
            &read.link,
            &read.durability,
            at_fault::spelling(&self),
            read.server.max_calls,
            &mut problems,
        );
        let providers = providers::resolve(&self, &mut problems, &mut warnings);
        let tenant = read.storage.tenant.clone();
        let policy = read
            .access
            .policy
            .map(|path| PolicyAtStart::read(PolicyFile::new(path, tenant)))
            .transpose()
            .unwrap_or_else(|wrong| {
                problems.extend(&wrong);
                None
            });
        named(problems.take())?;

        let rules = Rules {
            tenant: read.storage.tenant.clone(),
            limits: Limits {
                token_bytes: read.limits.max_token_bytes,
                row_bytes: read.limits.max_row_bytes,
                providers: read.limits.max_providers,
            },
            refresh_lifetime: read.tokens.refresh_lifetime,
            refresh_in_grace: read.tokens.refresh_in_grace,
            providers: Providers::new(providers),
            patience: redis.patience(),
            persistence: Rules::PERSISTENCE,
        };
        Ok(Config {
            listen,
            backend,
            tenant: read.storage.tenant,
            redis,
            migration: read.migration,
            rules,
            server: read.server,
            policy,
            log: read.log,
            memory_lock: read.memory.memory_lock,
            warnings,
        })
    }
}
