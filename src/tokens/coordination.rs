//! Refreshes by callers that redeem refresh tokens themselves (guarantees, section 6, R15).

use std::time::Duration;

use super::{Binding, Tokens};
pub use crate::refresh::{Begun, Completed, Completion, Outcome};
use crate::{
    error::Error,
    store::{Records, Store},
    types::{AttemptId, Reach, RowKey, StoredRow, TokenHash, Version},
};

impl<S: Store + Records> Tokens<S> {
    /// Asks for the right to redeem the refresh token of a row that has this version. May be repeated under the same
    /// `attempt`: the lease then begins anew.
    ///
    /// # Errors
    /// Returns the errors of [`Tokens::get`], [`Error::BindingMismatch`] if the row isn't within `reach`, [`Error::NoRefreshToken`], and those of writes.
    pub async fn begin_refresh(
        &self,
        key: &RowKey,
        version: Version,
        attempt: AttemptId,
        reach: &Reach,
    ) -> Result<Begun, Error> {
        // Before the token is taken, or a caller could hold up others at a row that it may not read.
        self.check_client(key, reach).await?;
        let begun = self.refresher.begin(key, version, attempt).await?;
        if let Begun::Lease { stored, .. } | Begun::Fresher(stored) = &begun {
            within(reach, stored)?;
        }
        Ok(begun)
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
    /// Returns [`Error::TooLarge`], [`Error::BindingMismatch`] if the row isn't within `reach`, or an error if the broker is about to end. The caller then has to repeat the call: it
    /// has the only copy of the tokens.
    pub async fn complete_refresh(
        &self,
        key: &RowKey,
        completion: Completion,
        reach: &Reach,
    ) -> Result<Completed, Error> {
        self.check_client(key, reach).await?;
        let completed = self.refresher.complete(key, completion).await?;
        if let Completed::Row(stored) = &completed {
            within(reach, stored)?;
        }
        Ok(completed)
    }

    /// Checks that the row, if there is one, belongs to the client that the caller is kept to.
    async fn check_client(&self, key: &RowKey, reach: &Reach) -> Result<(), Error> {
        if reach.client.is_none() {
            return Ok(());
        }
        let own = Binding {
            client_id: reach.client.clone(),
            ..Binding::default()
        };
        match self.get(key, &own).await {
            Ok(_) | Err(Error::RowNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn within(reach: &Reach, stored: &StoredRow) -> Result<(), Error> {
    let is_own = reach.is_of_client(&stored.row);
    is_own.then_some(()).ok_or(Error::BindingMismatch)
}
