//! What the log says about a verdict.

use super::subject::Mismatch;
use crate::types::{AttemptState, EntryState, ProviderName, Record, StoredRow, TokenHash};

/// The cause of a doubt that a refusal brings.
pub(super) const REFUSED_AFTERWARDS: &str =
    "the provider refused a refresh token that an earlier request may have redeemed";

/// Logs that a row is in doubt: its user has to log in again. Names no session.
pub(super) fn in_doubt(provider: &ProviderName, cause: &str) {
    tracing::warn!(%provider, cause, "a row is in doubt: its user has to log in again");
}

/// Logs that an answer was about another user than the row.
pub(super) fn another_user(provider: &ProviderName, mismatch: Mismatch) {
    tracing::error!(%provider, %mismatch, "the answer to a refresh is about another user: nothing of it is kept");
}

/// Returns why this row is found in doubt, by the record that says so.
pub(super) fn found(record: &Record, row: &StoredRow) -> &'static str {
    let token = row.row.refresh_token.as_ref().map(TokenHash::of);
    let Some(entry) = token.and_then(|token| record.entry(token)) else {
        return "its refresh token isn't known";
    };
    let any = |state| entry.attempts.iter().any(|attempt| attempt.state == state);
    match entry.state {
        EntryState::Redeemed(_) => {
            "the row holds a refresh token that was redeemed: other software or a backup put it back"
        }
        _ if any(AttemptState::NoAnswer) => {
            "no answer told whether its refresh token was redeemed, and it may not be sent again"
        }
        _ if any(AttemptState::Running) => {
            "who redeemed its refresh token died or stood still, and it may not be sent again"
        }
        _ => "an earlier verdict",
    }
}
