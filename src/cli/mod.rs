//! The command line, with one file per command. The exit codes are part of the
//! contract (guarantees, section 9).

mod audit;
mod audit_names;
mod check;
mod dial;
mod dumps;
mod health;
mod keys;
mod log;
mod migrate;
mod new_file;
mod no_answer;
mod policy;
mod providers;
mod redis;
#[cfg(test)]
mod reference;
mod report;
mod serve;
mod wrap;

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write},
    panic,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{
    Arg, Args, CommandFactory, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};
use tokio::runtime::Runtime;

use crate::{
    config::{self, Config, Problem, Settings, TenantConfig},
    meter::PANICS,
    stderr,
    store::{Decorate, Undecorated},
};

/// The command succeeded.
const DONE: u8 = 0;
/// The command failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// The command refused to go on, to protect the data.
const REFUSED: u8 = 3;

/// How long the end of the process waits for a reader of stderr.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Keeps the upstream OAuth and OpenID Connect tokens of logged-in sessions, and hands them out over
/// gRPC.
///
/// Every setting is a flag, an environment variable and a key of the TOML file. A flag overrides a
/// variable, and a variable overrides the file. Exit codes: 0 done, 1 failed, 2 bad usage or
/// configuration, 3 refused.
#[derive(Debug, Parser)]
#[command(
    name = "token-broker",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gRPC (the default if no command is given)
    Serve(Box<serve::ServeArgs>),
    /// Migrate the data of older software without serving, or end its grace period
    Migrate(Box<migrate::MigrateArgs>),
    /// Verify the data in Redis while brokers serve it, and mend it; exit code 3 if damage is left
    Check(Box<check::CheckArgs>),
    /// Make sealing keys, count what rows are sealed with, or seal all rows with the first key
    Keys(Box<keys::KeysArgs>),
    /// Print the presets of common providers and the configured providers as they came out, or try one
    Providers(Box<providers::ProvidersArgs>),
    /// Check the policy of the callers, or explain what a caller may do and why
    Policy(Box<policy::PolicyArgs>),
    /// Verify the files of an audit trail; exit code 1 if a line was removed, changed or moved
    Audit(audit::AuditArgs),
    /// Ask a running broker for its health; exit code 0 if it is SERVING, for container probes
    Health(Box<health::HealthArgs>),
}

/// The settings, and the file that may hold more of them.
#[derive(Args, Clone, Debug)]
struct Configured {
    /// A TOML file with settings under their names, as in `listen = "127.0.0.1:50051"`
    #[arg(
        long,
        env = "TOKEN_BROKER_CONFIG",
        value_name = "FILE",
        value_parser = path()
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the program with `args`. The first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_decorated(args, &Undecorated)
}

/// Like [`run`], with a decorator around the stores of a broker that serves: for tests of the whole program that need a
/// store which fails in a way that none does by itself.
pub fn run_decorated(
    args: impl IntoIterator<Item = OsString>,
    decorate: &impl Decorate,
) -> ExitCode {
    dumps::off();
    // The default hook would wait for the reader of stderr, and tell the message.
    panic::set_hook(Box::new(|panic| {
        PANICS.up();
        stderr::print(&dumps::told(panic));
    }));
    let _written = Written;
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(answer) => return ExitCode::from(print(&answer)),
    };
    let code = match cli.command {
        None => serve::run(&cli.serve, decorate),
        Some(Command::Serve(args)) => serve::run(&args, decorate),
        Some(Command::Migrate(args)) => of_a_tenant(&args.configured, |config, tenant| {
            migrate::run(&args, config, tenant)
        }),
        Some(Command::Check(args)) => with_keys(&args.configured, |config, tenant| {
            check::run(&args, config, &tenant)
        }),
        Some(Command::Keys(args)) => keys::run(&args),
        Some(Command::Providers(args)) => providers::run(&args),
        Some(Command::Policy(args)) => policy::run(&args),
        Some(Command::Audit(args)) => audit::run(&args),
        Some(Command::Health(args)) => health::run(&args),
    };
    ExitCode::from(code)
}

/// Waits at its end until stderr is written.
struct Written;

impl Drop for Written {
    fn drop(&mut self) {
        stderr::written(LAST_LINES);
    }
}

/// Prints what clap answers instead of a command line: the help, the version, or what is wrong. Returns the exit code.
fn print(answer: &clap::Error) -> u8 {
    let printed = answer.print().and_then(|()| io::stdout().flush());
    match (answer.use_stderr(), printed) {
        (true, _) => USAGE,
        (false, Ok(())) => DONE,
        (false, Err(_)) => FAILED,
    }
}

/// Prints a text on stdout, and returns the exit code.
fn out(text: &str) -> u8 {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => DONE,
        Err(error) => {
            complain(&format!("can't print: {error}"));
            FAILED
        }
    }
}

/// Returns a parser of paths, which may be empty: what is wrong then is told as of any other setting.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Resolves the configuration and calls `then` with it, or prints every problem with it.
fn configured(args: &Configured, then: impl FnOnce(Config) -> u8) -> u8 {
    resolved(args, Settings::resolve, then)
}

/// Like [`configured`], with the configuration that `resolve` makes of the settings.
fn resolved(
    args: &Configured,
    resolve: impl FnOnce(Settings) -> Result<Config, Vec<Problem>>,
    then: impl FnOnce(Config) -> u8,
) -> u8 {
    let unknown = unknown_variables();
    let config = match args.settings().and_then(resolve) {
        Ok(config) => config,
        Err(problems) => return refuse(&problems, &unknown),
    };
    log::init(config.log);
    for Problem {
        setting, message, ..
    } in unknown.iter().chain(&config.warnings)
    {
        tracing::warn!("{setting}: {message}");
    }
    then(config)
}

/// Like [`configured`], for a command that is about the data or the providers of one tenant.
fn of_a_tenant(args: &Configured, then: impl FnOnce(Config, TenantConfig) -> u8) -> u8 {
    configured(args, |config| match config.tenant().cloned() {
        Ok(tenant) => then(config, tenant),
        Err(problem) => refuse(&[problem], &[]),
    })
}

/// Prints every problem with the configuration, and returns the exit code. `warnings` may tell why there is
/// one.
fn refuse(problems: &[Problem], warnings: &[Problem]) -> u8 {
    for problem in problems {
        complain(&problem.to_string());
    }
    warn(warnings);
    complain("see token-broker --help");
    USAGE
}

/// Prints warnings, where there is no log.
fn warn(warnings: &[Problem]) {
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
}

/// Returns a warning for each variable of the environment that is meant for the program and has no effect.
fn unknown_variables() -> Vec<Problem> {
    let program = Cli::command();
    let commands = program.get_subcommands();
    let known = commands.flat_map(|command| command.get_arguments().filter_map(Arg::get_env));
    let known: Vec<_> = known.filter_map(OsStr::to_str).collect();
    let text = |(name, value): (OsString, OsString)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    };
    config::unknown_variables(env::vars_os().filter_map(text), known)
}

impl Configured {
    /// Returns the settings from all sources, or a problem for each secret on the command line.
    fn settings(&self) -> Result<Settings, Vec<Problem>> {
        let settings = self.settings.clone();
        let exposed = settings.exposed_secrets();
        if !exposed.is_empty() {
            return Err(exposed);
        }
        let file = self.config.as_deref().map(config::read);
        Ok(settings.or(file.unwrap_or_default()))
    }
}

/// Has the sealing keys of a tenant unwrapped, for a command that opens or seals its rows.
///
/// # Errors
/// Returns the exit code, after printing what went wrong on stderr.
fn unlocked(tenant: &TenantConfig) -> Result<(), u8> {
    let failed = |message: String| {
        complain(&message);
        FAILED
    };
    let runtime = runtime().map_err(|error| failed(format!("can't start: {error}")))?;
    let unlocked = runtime.block_on(tenant.sealing.keys.unlock());
    // The resolver of names may hang.
    runtime.shutdown_background();
    unlocked.map_err(|problem| failed(format!("seal-keys: {problem}")))
}

/// Like [`of_a_tenant`], for a command that opens or seals the tenant's rows.
fn with_keys(args: &Configured, then: impl FnOnce(Config, TenantConfig) -> u8) -> u8 {
    of_a_tenant(args, |config, tenant| match unlocked(&tenant) {
        Ok(()) => then(config, tenant),
        Err(code) => code,
    })
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Returns a runtime for a broker that serves: the threads that serve connections have runtimes of their own.
fn single_threaded_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Prints a message for the operator that isn't a log line.
fn complain(message: &str) {
    stderr::print(&format!("token-broker: {message}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused() {
        for (setting, secret, instead) in [
            ("redis-url", "redis://:hunter2@a", "redis-password-file"),
            ("redis-password", "hunter2", "redis-password-file"),
            (
                "redis-sentinel-password",
                "hunter2",
                "redis-sentinel-password-file",
            ),
        ] {
            let args = ["token-broker".into(), format!("--{setting}={secret}")];
            let serve = Cli::try_parse_from(args).unwrap().serve;
            let problems = serve.configured.settings().unwrap_err();
            assert_eq!((problems.len(), &*problems[0].setting), (1, setting));
            let told = problems[0].to_string();
            assert!(told.contains(&format!("set {instead}, ")), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
