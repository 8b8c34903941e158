//! The log line of a call. It never contains an id or a token, because neither the code and reason of
//! an error nor its detail for operators contains one.

use super::{call::Call, status};
use crate::error::Error;

/// Writes the line of a call that was refused at the door. Writes nothing if it was admitted.
pub(super) fn arrived(rpc: &'static str, admitted: Result<(), &Error>) {
    if let Err(error) = admitted {
        failed(rpc, error, 0);
    }
}

/// Writes the line of a call that has ended, with success or with an error.
pub(super) fn ended(call: &Call, outcome: Result<(), &Error>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let rpc = call.rpc;
    let micros = u64::try_from(call.started.elapsed().as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Ok(()) => tracing::debug!(rpc, code = "OK", micros, "call"),
        Err(error) => failed(rpc, error, micros),
    }
}

/// Writes the line of a call whose work panicked. What the panic says isn't known here, and must not be told.
pub(super) fn panicked(rpc: &'static str) {
    tracing::error!(rpc, "the work for a call panicked: it is INTERNAL");
}

fn failed(rpc: &'static str, error: &Error, micros: u64) {
    tracing::debug!(
        rpc,
        code = status::code_name(error),
        reason = status::reason(error),
        detail = error.operator_detail(),
        micros,
        "call"
    );
}
