//! The configuration: [`Settings`] as the operator writes them, [`Config`] as the program uses them.
//!
//! A flag overrides an environment variable, and a variable overrides the file. All mistakes are
//! collected and reported together, each with the name of its setting.
//!
//! Each setting is declared once, in the file of its subject in `settings/`. `written.rs` holds the
//! texts from one or several sources. `command_line.rs` and `file.rs` fill these texts in; `value.rs`
//! and `syntax.rs` parse them. `together.rs` finds settings that have no effect or contradict each other.
//! `variables.rs` finds variables of the environment that name no setting, and `listed.rs` shows what came
//! out. `places.rs` looks at what is in the place of a file or socket that a broker will make. `seal.rs` reads the file with the sealing keys, and `vault.rs` says who unwraps them. `providers.rs` reads the tables of providers, whose settings are in the
//! file alone, and `presets.toml` has what is known of common ones. `tenants.rs` does so for the tables of tenants, each of
//! which may have settings and providers of its own.

pub mod address;
mod at_fault;
mod audit;
mod command_line;
mod file;
mod listed;
mod listen;
mod nearest;
mod places;
mod policy;
mod problem;
mod providers;
mod quotes;
mod redis;
mod redis_url;
mod seal;
mod settings;
mod syntax;
mod tenants;
#[cfg(test)]
mod tests;
mod together;
mod traces;
mod value;
mod variables;
mod vault;
mod written;

use std::{net::SocketAddr, time::Duration};

pub use self::{
    file::read,
    listed::{listed_presets, provider_settings},
    listen::{Listen, ListenOptions},
    nearest::meant,
    policy::{PolicyFile, PolicyText},
    problem::Problem,
    settings::{Backend, LogFormat, LogSettings, MemoryLock, MigrationSettings, ServerOptions},
    tenants::TenantConfig,
    variables::unknown_variables,
    vault::Wrapping,
    written::Settings,
};
use self::{
    settings::{ListenSettings, Reader, StorageSettings, Subject, Subjects},
    tenants::OfProcess,
};
use crate::{
    access::Guard, audit::AuditOptions, seal::Keys, store::redis::RedisOptions,
    traces::TracesOptions, types::Tenant,
};

/// The program's configuration, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve, for whom, and how.
    pub listen: ListenOptions,
    /// Where the broker keeps tokens.
    pub backend: Backend,
    /// The tenants that are served, in the order of their names. There is at least one.
    pub tenants: Vec<TenantConfig>,
    /// The tenant that the setting `tenant` names; `None` if it is unset, and there are several. It is among `tenants`.
    pub named: Option<Tenant>,
    /// How to reach Redis, for [`Backend::Redis`].
    pub redis: RedisOptions,
    /// The limits and timeouts for clients.
    pub server: ServerOptions,
    /// Who may call. `None`: anybody.
    pub policy: Option<PolicyAtStart>,
    /// How to write the audit trail, if there is one.
    pub audit: Option<AuditOptions>,
    /// How to trace calls, if any is traced.
    pub traces: Option<TracesOptions>,
    /// How to log.
    pub log: LogSettings,
    /// Whether memory is kept out of swap.
    pub memory_lock: MemoryLock,
    /// What the operator should know about these settings, although the broker can work with them.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Returns the sealing keys of all tenants, those that several share once.
    #[must_use]
    pub fn sealing_keys(&self) -> Vec<Keys> {
        let mut all = Vec::<Keys>::new();
        for TenantConfig { sealing, .. } in &self.tenants {
            if !all.iter().any(|known| known.are(&sealing.keys)) {
                all.push(sealing.keys.clone());
            }
        }
        all
    }

    /// Returns the tenant that a command is about.
    ///
    /// # Errors
    /// Returns what to set, if there are several and `tenant` names none.
    pub fn tenant(&self) -> Result<&TenantConfig, Problem> {
        let found = self
            .tenants
            .iter()
            .find(|tenant| Some(&tenant.rules.tenant) == self.named.as_ref());
        found.ok_or_else(|| {
            let names: Vec<_> = self
                .tenants
                .iter()
                .map(|tenant| tenant.rules.tenant.to_string())
                .collect();
            let message = format!("must be set to one of {}", names.join(", "));
            Problem::new(StorageSettings::tenant, message)
        })
    }
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
    /// Reads the file. Adds to `warnings` what of it has no effect.
    fn read(file: PolicyFile, warnings: &mut Vec<Problem>) -> Result<Self, Vec<Problem>> {
        let text = file.read().map_err(|problem| vec![problem])?;
        let policy = file.parse(&text)?;
        warnings.extend(file.warnings(&policy));
        let guard = Guard::of(policy);
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

    /// Like [`resolve`](Self::resolve), for a broker that is about to serve: looks also at the places of the files that it will
    /// write, and of its socket. Changes nothing there.
    ///
    /// # Errors
    /// Returns every [`Problem`] that was found. The places are looked at if there is no other one.
    pub fn resolve_for_broker(self) -> Result<Config, Vec<Problem>> {
        let config = self.clone().resolve()?;
        let problems = places::unfit(&self, &config);
        match problems.is_empty() {
            true => Ok(config),
            false => Err(problems.into_iter().map(|one| self.named(one)).collect()),
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
        let misread = tenants::misread(&self);
        if !self.problems().is_empty() || !misread.is_empty() {
            // What is missing because of a mistake would be a second, false one. Other tables are told apart from it.
            providers::resolve(&self, &mut problems, &mut Vec::new());
            problems.extend(&misread);
            named(problems.take())?;
        }

        let backend = together::backend(&self, &read);
        together::check(&self, &read, backend, &mut problems);
        let listen = listen::options(&self, read.listen, read.tls, &mut problems);
        let mut warnings = quotes::warnings(&self);
        let server = read.server;
        let redis = redis::options(
            read.redis,
            read.sentinel,
            &read.link,
            &read.durability,
            at_fault::spelling(&self),
            &server,
            &mut problems,
        );
        let audit = audit::options(&self, read.audit, server.max_calls, &mut problems);
        let traces = traces::options(&self, read.traces, &mut problems);
        let one = read.storage.tenant;
        let of_process = OfProcess {
            server,
            backend,
            patience: redis.patience(),
        };
        let tenants = tenants::resolve(
            &self,
            (one.clone(), read.tenant),
            &of_process,
            &mut problems,
            &mut warnings,
        );
        let served = tenants.iter().map(|tenant| tenant.rules.tenant.clone());
        let policy = read
            .access
            .policy
            .map(|path| {
                let file = PolicyFile::new(path, served.collect(), listen.ways());
                PolicyAtStart::read(file, &mut warnings)
            })
            .transpose()
            .unwrap_or_else(|wrong| {
                problems.extend(&wrong);
                None
            });
        named(problems.take())?;
        let is_one = self.is_set(StorageSettings::tenant) || self.tenants().is_empty();
        let named = match &tenants[..] {
            [only] => Some(only.rules.tenant.clone()),
            _ => is_one.then_some(one),
        };
        Ok(Config {
            listen,
            backend,
            tenants,
            named,
            redis,
            server,
            policy,
            audit,
            traces,
            log: read.log,
            memory_lock: read.memory.memory_lock,
            warnings,
        })
    }
}
