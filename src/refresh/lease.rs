//! Refreshes by callers that redeem refresh tokens themselves, on the same records (guarantees, section 6, R15).

use std::{sync::Arc, time::Duration};

use super::{
    Refresher,
    attempt::{Attempt, Noted, Settled, Tokens, contended},
    back_off::back_off,
    decide::{Decision, Wish, decide},
    provider::TokenAnswer,
    providers::Configured,
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

/// A redemption, and what became of it.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The attempt.
    pub attempt: AttemptId,
    /// The refresh token.
    pub token: TokenHash,
    /// The version of the row when the token was taken.
    pub version: Version,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of the row.
#[derive(Clone, Debug)]
pub enum Completed {
    /// The row, with the tokens of the redemption, or with what others stored since.
    Row(Box<StoredRow>),
    /// The row is gone, or can't be read.
    Gone,
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
            may_resend: configured.is_none_or(|configured| !configured.breaker().is_open()),
            is_rejected: false,
        };
        let mut attempts = Attempts::within(PATIENCE);
        loop {
            let seen = self.0.store.look(key).await?;
            if let Some(stored) = seen.stored().filter(|stored| stored.version == version)
                && !stored.row.refresh_token_is_live(UnixTime::now())
            {
                return Ok(Begun::ReauthRequired(ReauthReason::Refused));
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

impl<S: Records> Refresher<S> {
    /// Takes note of what became of a redemption. May be repeated, and is accepted whatever happened to the lease. Goes on
    /// until it is written, also if the caller leaves.
    ///
    /// # Errors
    /// Returns an error if the broker is about to end. The caller has to repeat the call: it has the only copy of the
    /// tokens.
    pub async fn complete(&self, key: &RowKey, completion: Completion) -> Result<Completed, Error> {
        let (shared, key) = (Arc::clone(&self.0), key.clone());
        let noting = async move {
            let refresher = Self(shared);
            let _counted = refresher.0.flights.counted();
            refresher.note(&key, completion).await
        };
        let noted = tokio::spawn(noting).await;
        noted.map_err(|_| store::Error::unavailable("the broker is stopping").into())
    }

    async fn note(&self, key: &RowKey, completion: Completion) -> Completed {
        let attempt = Attempt {
            store: &*self.0.store,
            key,
            token: completion.token,
            id: completion.attempt,
        };
        let noted = match completion.outcome {
            Outcome::Tokens(answer) => {
                let options = self.providers().get(&key.provider);
                let options = options.map(|configured| configured.provider.options());
                let tokens = Tokens {
                    answer: *answer,
                    taken_at: completion.version,
                    sent_at: None,
                    origin: None,
                    assumed_life: options.and_then(|options| options.assume_expires_in),
                    refresh_lifetime: self.0.refresh_lifetime(key),
                };
                return match attempt.settle(&tokens, None, |_| {}).await {
                    Settled::Row(stored) | Settled::Beaten(stored) => Completed::Row(stored.into()),
                    Settled::Gone => Completed::Gone,
                };
            }
            Outcome::Refused => {
                let noted = attempt.refused(false).await;
                if noted.verdict() == Some(ReauthReason::InDoubt) {
                    told::in_doubt(&key.provider, told::REFUSED_AFTERWARDS);
                }
                noted
            }
            Outcome::NotRedeemed { retry_after: None } => attempt.withdraw().await,
            Outcome::NotRedeemed {
                retry_after: Some(pause),
            } => attempt.passing(|_| pause).await,
            Outcome::Unknown => attempt.no_answer(back_off).await,
        };
        completed(noted)
    }
}

fn completed(noted: Noted) -> Completed {
    match (noted.verdict(), noted.stored) {
        (_, None) => Completed::Gone,
        (Some(reason), Some(_)) => Completed::ReauthRequired(reason),
        (None, Some(stored)) => Completed::Row(stored.into()),
    }
}
