//! What a redeemer does next, by the row and its record as they were seen.
//!
//! This is the state machine of a refresh apart from its input and output: [`rules`](super::rules) says what becomes of a
//! record, and this file says what that means for the row and for who asked.

use std::time::Duration;

use super::rules::{Policy, Take, Taking, take};
use crate::{
    error::Error,
    store::Seen,
    types::{
        AttemptId, ReauthReason, Record, Row, Secret, StoreTime, StoredRow, TokenHash, Version,
    },
};

/// What is to be done.
#[derive(Debug)]
pub(super) enum Decision {
    /// Write this record: then the attempt has the row's refresh token.
    Take(Record, Token),
    /// Wait. Write the record first, if there is one.
    Wait(Option<Record>, Wait),
    /// Write this record and this row, if anything is to be written: the user has to log in again.
    Verdict(Option<(Record, StoredRow)>, ReauthReason),
    /// The row isn't the one that the caller knows.
    Fresher(StoredRow),
    /// The row was refreshed shortly before because its access token was refused.
    Throttled,
    /// The attempt had ended before.
    Ended,
    /// Nothing can be redeemed.
    Impossible(Error),
}

/// What a redeemer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// For how long.
    pub span: Duration,
    /// The attempt that is redeeming the token now. `None`: nobody may redeem it yet.
    pub running: Option<AttemptId>,
}

/// The refresh token of a row.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// The token.
    pub secret: Secret,
    /// Its hash.
    pub hash: TokenHash,
    /// The row that holds it.
    pub stored: StoredRow,
}

/// What a redeemer wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// The version of the row that it knows.
    pub version: Version,
    /// Its attempt.
    pub attempt: AttemptId,
    /// What the provider's settings say.
    pub policy: &'a Policy,
    /// Whether a token that may have been redeemed can be sent again now.
    pub may_resend: bool,
    /// Whether a resource server refused the access token.
    pub is_rejected: bool,
}

/// Returns what a redeemer that wants this does next.
pub(super) fn decide(seen: &Seen, wish: &Wish<'_>) -> Decision {
    let stored = match &seen.row {
        None => return Decision::Impossible(Error::RowNotFound),
        Some(Err(unreadable)) => {
            return Decision::Impossible(unreadable.clone().into());
        }
        Some(Ok(stored)) => stored,
    };
    if stored.version != wish.version {
        return Decision::Fresher(stored.clone());
    }
    let Some(secret) = stored.row.refresh_token.clone() else {
        return Decision::Impossible(Error::NoRefreshToken);
    };
    let hash = TokenHash::of(&secret);
    let mut record = seen.record.clone();
    let taking = Taking {
        attempt: wish.attempt,
        policy: wish.policy,
        may_resend: wish.may_resend,
        is_rejected: wish.is_rejected,
        now: seen.at,
        lineage: seen.lineage,
    };
    let outcome = take(&mut record, hash, &taking);
    let wait = |until: StoreTime| Wait {
        span: until.since(seen.at),
        running: record.entry(hash).and_then(|entry| entry.running()),
    };
    match outcome {
        Take::Taken => Decision::Take(
            record,
            Token {
                secret,
                hash,
                stored: stored.clone(),
            },
        ),
        Take::Wait(until) => Decision::Wait(None, wait(until)),
        Take::Asked(until) => {
            let wait = wait(until);
            Decision::Wait(Some(record), wait)
        }
        Take::Verdict(reason) => {
            let is_known = record == seen.record && stored.row.reauth == Some(reason);
            let marked = || (record, marked(stored, Some(reason)));
            Decision::Verdict((!is_known).then(marked), reason)
        }
        Take::Ended => Decision::Ended,
        Take::Throttled => Decision::Throttled,
    }
}

/// Returns the row with this mark, which leaves its version as it is.
pub(super) fn marked(stored: &StoredRow, reauth: Option<ReauthReason>) -> StoredRow {
    let row = Row {
        reauth,
        ..stored.row.clone()
    };
    StoredRow {
        row,
        version: stored.version,
    }
}
