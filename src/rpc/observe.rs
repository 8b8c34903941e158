//! The log line of a call. It never has an id or a token: an error's caller face has none, and its
//! operator face has none either.

use super::{call::Call, status};
use crate::error::Error;

/// Writes the line of a call that has ended, well or with an error.
pub(super) fn ended(call: &Call, outcome: Result<(), &Error>) {
    let rpc = call.rpc;
    let micros = u64::try_from(call.started.elapsed().as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Ok(()) => tracing::debug!(rpc, code = "OK", micros, "call"),
        Err(error) => tracing::debug!(
            rpc,
            code = status::code_name(error),
            reason = status::reason(error),
            detail = error.operator_detail(),
            micros,
            "call"
        ),
    }
}
