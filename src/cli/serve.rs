//! `token-broker serve`: serves gRPC.

use super::{DONE, FAILED, REFUSED, USAGE, complain, runtime};
use crate::{
    config::Config,
    server::{self, ServeError},
};

/// Serves until SIGTERM or SIGINT, and returns the exit code.
pub(super) fn run(config: Config) -> u8 {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    match runtime.block_on(server::serve(config)) {
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
        ServeError::Unmigrated(_) => REFUSED,
        _ => FAILED,
    }
}
