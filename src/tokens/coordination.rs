//! Refreshes by callers that redeem refresh tokens themselves (guarantees, section 6, R15).

use std::time::Duration;

use super::Tokens;
pub use crate::refresh::{Begun, Completed, Completion, Outcome};
use crate::{
    error::Error,
    store::{Records, Store},
    types::{AttemptId, RowKey, TokenHash, Version},
};

impl<S: Store + Records> Tokens<S> {
    /// Asks for the right to redeem the refresh token of a row that has this version. May be repeated under the same
    /// `attempt`: the lease then begins anew.
    ///
    /// # Errors
    /// Returns the errors of [`Tokens::get`], [`Error::NoRefreshToken`], and those of writes.
    pub async fn begin_refresh(
        &self,
        key: &RowKey,
        version: Version,
        attempt: AttemptId,
    ) -> Result<Begun, Error> {
        self.refresher.begin(key, version, attempt).await
    }

    /// Renews a lease. Returns its length, counted from before the call, or `None` if the attempt has lost it: it must
    /// not send the token any more.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn renew_refresh(
        &self,
        key: &RowKey,
        token: TokenHash,
        attempt: AttemptId,
    ) -> Result<Option<Duration>, Error> {
        self.refresher.renew(key, token, attempt).await
    }

    /// Takes note of what became of a redemption. May be repeated, and is accepted whatever happened to the lease.
    ///
    /// # Errors
    /// Returns [`Error::TooLarge`], or an error if the broker is about to end. The caller then has to repeat the call: it
    /// has the only copy of the tokens.
    pub async fn complete_refresh(
        &self,
        key: &RowKey,
        completion: Completion,
    ) -> Result<Completed, Error> {
        self.refresher.complete(key, completion).await
    }
}
