//! `token-broker serve`: serves gRPC.

use clap::Args;

use super::{
    Configured, DONE, FAILED, REFUSED, USAGE, complain, out, refuse, resolved,
    single_threaded_runtime, unknown_variables, warn,
};
use crate::{
    config::{Config, Settings},
    server::{self, ServeError},
    store::Decorate,
};

/// The options of `serve`.
#[derive(Args, Clone, Debug)]
pub(super) struct ServeArgs {
    /// Check the settings and the files that they name, print what came out without secrets, and exit.
    /// Connects to nothing
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    pub(super) configured: Configured,
}

/// Serves until SIGTERM or SIGINT, or checks the configuration. Returns the exit code.
pub(super) fn run(args: &ServeArgs, decorate: &impl Decorate) -> u8 {
    if args.check_config {
        check_config(&args.configured)
    } else {
        resolved(&args.configured, Settings::resolve_for_broker, |config| {
            serve(config, decorate)
        })
    }
}

fn check_config(args: &Configured) -> u8 {
    let unknown = unknown_variables();
    let resolved = args.settings().and_then(|settings| {
        let config = settings.clone().resolve_for_broker()?;
        Ok((settings.listed(&config), config.warnings))
    });
    match resolved {
        Ok((list, warnings)) => {
            warn(&unknown);
            warn(&warnings);
            out(&list)
        }
        Err(problems) => refuse(&problems, &unknown),
    }
}

fn serve(config: Config, decorate: &impl Decorate) -> u8 {
    let runtime = match single_threaded_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    let ended = runtime.block_on(server::serve(config, decorate));
    // A thread that reads a file on a disk that doesn't answer must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => DONE,
        Err(error) => {
            complain(&error.to_string());
            exit_code(&error)
        }
    }
}

fn exit_code(error: &ServeError) -> u8 {
    match error {
        ServeError::Misconfigured(_) => USAGE,
        ServeError::Unmigrated(_) | ServeError::SealedInGrace => REFUSED,
        _ => FAILED,
    }
}
