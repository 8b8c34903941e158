//! Refreshes by callers that redeem refresh tokens themselves (guarantees, section 6, R15).

use std::time::Duration;

use super::Tokens;
use crate::{
    error::Error,
    refresh::provider::TokenAnswer,
    store::{Records, Store},
    types::{AttemptId, ReauthReason, RowKey, StoredRow, TokenHash, Version},
};

/// What a caller may do after it asked to refresh a row.
#[derive(Clone, Debug)]
pub enum Begun {
    /// It may redeem the row's refresh token.
    Lease {
        /// For how long, counted from before the call, unless it renews the lease.
        length: Duration,
        /// The row, with the refresh token.
        stored: StoredRow,
    },
    /// The row has been refreshed or stored since: there is nothing to redeem.
    Fresher(StoredRow),
    /// The refresh token is being redeemed, or it is too early. It makes sense to ask again after this time.
    Wait(Duration),
    /// The refresh token can't be used any more.
    ReauthRequired(ReauthReason),
}

/// What became of a redemption.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The provider answered with tokens.
    Tokens(Box<TokenAnswer>),
    /// The provider refused the token for good.
    Refused,
    /// The token surely wasn't redeemed.
    NotRedeemed {
        /// How long nobody should try again.
        retry_after: Option<Duration>,
    },
    /// It isn't known whether the token was redeemed.
    Unknown,
}

/// What became of the row.
#[derive(Clone, Debug)]
pub enum Completed {
    /// The row, with the tokens of the redemption, or with what others stored since.
    Row(StoredRow),
    /// The row is gone, or nothing is known about it that a caller could use.
    Noted,
    /// The refresh token can't be used any more.
    ReauthRequired(ReauthReason),
}

impl<S: Store + Records> Tokens<S> {
    /// Asks for the right to redeem the refresh token of a row that has this version. May be repeated under the same
    /// `attempt`: the lease then begins anew.
    ///
    /// # Errors
    /// Returns the errors of [`Tokens::get`], [`Error::NoRefreshToken`], and those of writes.
    pub async fn begin_refresh(
        &self,
        _key: &RowKey,
        _version: Version,
        _attempt: AttemptId,
    ) -> Result<Begun, Error> {
        todo!()
    }

    /// Renews a lease. Returns its length, counted from before the call, or `None` if the attempt has lost it: it must
    /// not send the token any more.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn renew_refresh(
        &self,
        _key: &RowKey,
        _token: TokenHash,
        _attempt: AttemptId,
    ) -> Result<Option<Duration>, Error> {
        todo!()
    }

    /// Takes note of what became of a redemption. May be repeated, and is accepted whatever happened to the lease.
    ///
    /// # Errors
    /// Returns an error if the store fails. The caller has to repeat the call: it has the only copy of the tokens.
    pub async fn complete_refresh(
        &self,
        _key: &RowKey,
        _token: TokenHash,
        _attempt: AttemptId,
        _outcome: Outcome,
    ) -> Result<Completed, Error> {
        todo!()
    }
}
