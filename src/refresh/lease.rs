//! Refreshes by callers that redeem refresh tokens themselves, on the same records (guarantees, section 6, R15).

use std::time::Duration;

use super::{
    Refresher,
    attempt::{Attempt, contended},
    configured::Configured,
    decide::{Decision, Wish, decide},
    rules::{LEASE, Policy},
    told,
};
use crate::{
    error::Error,
    store::{self, Attempts, Change, Records},
    types::{AttemptId, ReauthReason, RowKey, StoredRow, TokenHash, UnixTime, Version},
};

/// How long a call tries to write although others keep writing.
const PATIENCE: Duration = Duration::from_secs(2);

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

impl<S: Records> Refresher<S> {
    /// Asks for the right to redeem the refresh token of a row that has this version. May be repeated under the same
    /// `attempt`: the lease then begins anew.
    ///
    /// # Errors
    /// Returns [`Error::RowNotFound`], [`Error::RowUnreadable`], [`Error::NoRefreshToken`], and errors of the store. The
    /// caller may then have the lease: it repeats the call, or completes the attempt as not sent.
    pub async fn begin(
        &self,
        key: &RowKey,
        version: Version,
        attempt: AttemptId,
    ) -> Result<Begun, Error> {
        let configured = self.providers().get(&key.provider);
        let policy = configured.map_or_else(Policy::default, Configured::policy);
        let wish = Wish {
            version,
            attempt,
            policy: &policy,
            may_resend: configured.is_none_or(Configured::may_resend),
            is_rejected: false,
        };
        let mut attempts = Attempts::within(PATIENCE);
        loop {
            let seen = self.0.store.look(key).await?;
            if let Some(stored) = seen.stored().filter(|stored| stored.version == version) {
                // The mark of a row outlives a record that the store lost.
                let is_live = stored.row.refresh_token_is_live(UnixTime::now());
                let ended = (!is_live).then_some(ReauthReason::Refused);
                if let Some(reason) = stored.row.reauth.or(ended) {
                    return Ok(Begun::ReauthRequired(reason));
                }
            }
            let (begun, record, row) = match decide(&seen, &wish) {
                Decision::Take(record, token) => {
                    let stored = token.stored;
                    let length = LEASE;
                    (Begun::Lease { length, stored }, Some(record), None)
                }
                Decision::Wait(record, wait) => (Begun::Wait(wait.span), record, None),
                Decision::Verdict(change, reason) => {
                    let (record, row) = change.unzip();
                    (Begun::ReauthRequired(reason), record, row)
                }
                Decision::Fresher(stored) => (Begun::Fresher(stored), None, None),
                Decision::Throttled => (Begun::Wait(policy.rejected_interval), None, None),
                Decision::Ended => {
                    let rule = "has ended, or has no answer: a new attempt needs a new id";
                    return Err(Error::invalid("attempt_id", rule));
                }
                Decision::Impossible(error) => return Err(error),
            };
            let Some(record) = record else {
                return Ok(begun);
            };
            let change = Change::new(&record, row.as_ref());
            match self.0.store.change(key, &seen, change).await {
                Ok(true) => {
                    if let (Begun::ReauthRequired(ReauthReason::InDoubt), Some(row)) =
                        (&begun, &row)
                    {
                        told::in_doubt(&key.provider, told::found(&record, row));
                    }
                    return Ok(begun);
                }
                // Under its id it is taken again, or as it was.
                Ok(false) | Err(store::Error::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if !attempts.another().await {
                return Err(contended().into());
            }
        }
    }

    /// Renews a lease. Returns its length, counted from before the call, or `None` if the attempt has lost it: the caller
    /// must not send the token any more.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn renew(
        &self,
        key: &RowKey,
        token: TokenHash,
        attempt: AttemptId,
    ) -> Result<Option<Duration>, Error> {
        let attempt = Attempt {
            store: &*self.0.store,
            key,
            token,
            id: attempt,
        };
        let mut attempts = Attempts::within(PATIENCE);
        loop {
            match attempt.renew().await {
                Ok(Some(holds)) => return Ok(holds.then_some(LEASE)),
                Ok(None) | Err(store::Error::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if !attempts.another().await {
                return Err(contended().into());
            }
        }
    }
}
