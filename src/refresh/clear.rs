//! Taking back what a provider refused in a bad hour (guarantees, section 6, R6).

use std::time::Duration;

use super::{decide::marked, rules::clear_refused};
use crate::{
    store::{Change, Error, Records},
    types::{ReauthReason, RowKey, StoreTime, TokenHash},
};

/// Takes back the refusal of a row's refresh token, if the provider refused it within the last `span`. Returns whether there
/// was such a refusal. If `is_dry_run`, changes nothing.
///
/// # Errors
/// Returns an error if the store fails.
pub async fn clear<S: Records>(
    store: &S,
    key: &RowKey,
    span: Duration,
    is_dry_run: bool,
) -> Result<bool, Error> {
    loop {
        let seen = store.look(key).await?;
        let Some(stored) = seen.stored() else {
            return Ok(false);
        };
        let Some(token) = stored.row.refresh_token.as_ref().map(TokenHash::of) else {
            return Ok(false);
        };
        let mut record = seen.record.clone();
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let since = StoreTime::from_millis(seen.at.millis().saturating_sub(span));
        if !clear_refused(&mut record, token, since) {
            return Ok(false);
        }
        let unmarked = marked(stored, None);
        let is_marked = stored.row.reauth == Some(ReauthReason::Refused);
        let change = Change::new(&record, is_marked.then_some(&unmarked));
        if is_dry_run || store.change(key, &seen, change).await? {
            return Ok(true);
        }
    }
}
