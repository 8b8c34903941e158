//! Taking back what a provider refused in a bad hour (guarantees, section 6, R6).

use std::time::Duration;

use super::{decide::marked, rules::clear_refused};
use crate::{
    store::{Change, Error, Records},
    types::{EntryState, ReauthReason, RowKey, StoreTime, TokenHash},
};

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// Its refresh token may be sent again, or could be if it weren't a dry run.
    TakenBack,
    /// Its refresh token stays as it is, and may not be sent.
    Kept(Kept),
    /// There was nothing to take back.
    Nothing,
}

/// Why a row stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// The provider refused its refresh token earlier.
    Older,
    /// Its refresh token was redeemed for another user's tokens.
    ForGood,
    /// Its refresh token may have been redeemed, or was.
    InDoubt,
    /// It can't be read.
    Unreadable,
    /// The record of its refresh tokens can't be read.
    RecordUnreadable,
}

/// Takes back the refusal of a row's refresh token, if the provider refused it within the last `span`. If `is_dry_run`,
/// changes nothing.
///
/// # Errors
/// Returns an error if the store fails.
pub async fn clear<S: Records>(
    store: &S,
    key: &RowKey,
    span: Duration,
    is_dry_run: bool,
) -> Result<Cleared, Error> {
    loop {
        let seen = match store.look(key).await {
            Err(Error::RecordUnreadable) => return Ok(Cleared::Kept(Kept::RecordUnreadable)),
            seen => seen?,
        };
        let stored = match &seen.row {
            Some(Ok(stored)) => stored,
            Some(Err(_)) => return Ok(Cleared::Kept(Kept::Unreadable)),
            None => return Ok(Cleared::Nothing),
        };
        let Some(token) = stored.row.refresh_token.as_ref().map(TokenHash::of) else {
            return Ok(Cleared::Nothing);
        };
        let mut record = seen.record.clone();
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let since = StoreTime::from_millis(seen.at.millis().saturating_sub(span));
        if !clear_refused(&mut record, token, since) {
            let entry = seen.record.entry(token);
            return Ok(match entry.map(|entry| &entry.state) {
                Some(EntryState::Refused { for_good: false }) => Cleared::Kept(Kept::Older),
                Some(EntryState::Refused { for_good: true }) => Cleared::Kept(Kept::ForGood),
                Some(EntryState::InDoubt | EntryState::Redeemed(_)) => Cleared::Kept(Kept::InDoubt),
                Some(EntryState::Free | EntryState::Open) | None => Cleared::Nothing,
            });
        }
        let unmarked = marked(stored, None);
        let is_marked = stored.row.reauth == Some(ReauthReason::Refused);
        let change = Change::new(&record, is_marked.then_some(&unmarked));
        if is_dry_run || store.change(key, &seen, change).await? {
            return Ok(Cleared::TakenBack);
        }
    }
}
