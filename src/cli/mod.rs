//! The command line, with one file per command. The exit codes are part of the
//! contract (guarantees, section 9).

mod check;
mod health;
mod log;
mod migrate;
mod redis;
#[cfg(test)]
mod reference;
mod report;
mod serve;

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{self, Config, Problem, Settings};

/// The command succeeded.
const DONE: u8 = 0;
/// The command failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// The command refused to go on, to protect the data.
const REFUSED: u8 = 3;

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
    serve: Configured,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gRPC (the default if no command is given)
    Serve(Box<Configured>),
    /// Migrate the data of older software without serving, or end its grace period
    Migrate(Box<migrate::MigrateArgs>),
    /// Verify the data in Redis while brokers serve it, and mend it; exit code 3 if damage is left
    Check(Box<check::CheckArgs>),
    /// Ask a running broker for its health; exit code 0 if it is SERVING, for container probes
    Health(health::HealthArgs),
}

/// The settings, and the file that may hold more of them.
#[derive(Args, Clone, Debug)]
struct Configured {
    /// A TOML file with settings under their names, as in `listen = "127.0.0.1:50051"`
    #[arg(long, env = "TOKEN_BROKER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the program with `args`. The first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::try_parse_from(args).unwrap_or_else(|error| error.exit());
    let code = match cli.command {
        None => configured(cli.serve, serve::run),
        Some(Command::Serve(args)) => configured(*args, serve::run),
        Some(Command::Migrate(args)) => configured(args.configured.clone(), |config| {
            migrate::run(&args, config)
        }),
        Some(Command::Check(args)) => {
            configured(args.configured.clone(), |config| check::run(&args, config))
        }
        Some(Command::Health(args)) => health::run(&args),
    };
    ExitCode::from(code)
}

/// Resolves the configuration and calls `then` with it, or prints every problem with it.
fn configured(args: Configured, then: impl FnOnce(Config) -> u8) -> u8 {
    match resolve(args) {
        Ok(config) => {
            log::init(config.log);
            then(config)
        }
        Err(problems) => {
            for problem in problems {
                complain(&format!("{problem}"));
            }
            complain("see token-broker --help");
            USAGE
        }
    }
}

fn resolve(args: Configured) -> Result<Config, Vec<Problem>> {
    let exposed = args.settings.exposed_secrets();
    if !exposed.is_empty() {
        return Err(exposed);
    }
    let file = match &args.config {
        Some(path) => config::read(path).map_err(|problem| vec![problem])?,
        None => Settings::default(),
    };
    args.settings.or(file).resolve()
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Prints a message for the operator that isn't a log line.
#[expect(
    clippy::print_stderr,
    reason = "a message to the operator who started the process"
)]
fn complain(message: &str) {
    eprintln!("token-broker: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
            let problems = resolve(Cli::try_parse_from(args).unwrap().serve).unwrap_err();
            assert_eq!((problems.len(), &*problems[0].setting), (1, setting));
            let told = problems[0].to_string();
            assert!(told.contains(&format!("set {instead}, ")), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
