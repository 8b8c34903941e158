//! Refreshes by callers that redeem refresh tokens themselves, on the same records (guarantees, section 6, R15).

use std::{sync::Arc, time::Duration};

use super::{
    Refresher,
    attempt::{Attempt, Settled, Tokens, contended},
    back_off::back_off,
    decide::{Decision, Wish, decide},
    provider::{ProviderOptions, TokenAnswer},
    providers::Configured,
    rules::{LEASE, Policy},
    subject, told,
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
    /// The row is gone.
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

impl<S: Records> Refresher<S> {
    /// Takes note of what became of a redemption. May be repeated, and is accepted whatever happened to the lease. Goes on
    /// until it is written, also if the caller leaves.
    ///
    /// # Errors
    /// Returns [`Error::RowUnreadable`], and an error if the broker is about to end. The caller has to repeat the call: it
    /// has the only copy of the tokens.
    pub async fn complete(&self, key: &RowKey, completion: Completion) -> Result<Completed, Error> {
        let (shared, key) = (Arc::clone(&self.0), key.clone());
        let noting = async move {
            let refresher = Self(shared);
            let _counted = refresher.0.flights.counted();
            refresher.note(&key, completion).await
        };
        let stopping = |_| store::Error::unavailable("the broker is stopping").into();
        tokio::spawn(noting).await.map_err(stopping).flatten()
    }

    async fn note(&self, key: &RowKey, completion: Completion) -> Result<Completed, Error> {
        let attempt = Attempt {
            store: &*self.0.store,
            key,
            token: completion.token,
            id: completion.attempt,
        };
        let seen = attempt.seen().await;
        if let Some(Err(unreadable)) = seen.row {
            return Err(Error::RowUnreadable(unreadable));
        }
        let stored = seen.stored();
        let holder = stored.filter(|stored| attempt.is_held_by(&stored.row));
        let entry = seen.record.entry(completion.token);
        let noted = match completion.outcome {
            // Nobody took such a token, and the row has another one.
            Outcome::Tokens(_) if entry.is_none() && holder.is_none() => {
                return Ok(completed(None, stored.cloned()));
            }
            Outcome::Tokens(answer) => {
                match holder.map(|stored| self.subject(key, stored, &answer)) {
                    Some(Err(())) => attempt.refused(true).await,
                    _ => return Ok(self.settle(&attempt, *answer, completion.version).await),
                }
            }
            Outcome::Refused if entry.is_some_and(|entry| entry.attempt(attempt.id).is_some()) => {
                let noted = attempt.refused(false).await;
                if noted.verdict() == Some(ReauthReason::InDoubt) {
                    told::in_doubt(&key.provider, told::REFUSED_AFTERWARDS);
                }
                noted
            }
            // Who took nothing has sent nothing.
            Outcome::Refused | Outcome::NotRedeemed { retry_after: None } => {
                attempt.withdraw().await
            }
            Outcome::NotRedeemed {
                retry_after: Some(pause),
            } => attempt.passing(|_| pause).await,
            Outcome::Unknown => attempt.no_answer(back_off).await,
        };
        Ok(completed(noted.verdict(), noted.stored))
    }

    fn options(&self, key: &RowKey) -> Option<&ProviderOptions> {
        let configured = self.providers().get(&key.provider);
        configured.map(|configured| configured.provider.options())
    }

    /// Checks that the tokens are those of the row's user. If not, says so in the log.
    fn subject(&self, key: &RowKey, stored: &StoredRow, answer: &TokenAnswer) -> Result<(), ()> {
        subject::check(&stored.row, answer, self.options(key)).map_err(|mismatch| {
            let provider = &key.provider;
            tracing::error!(%provider, %mismatch, "{}", subject::ANOTHER_USER);
        })
    }

    async fn settle(
        &self,
        attempt: &Attempt<'_, S>,
        answer: TokenAnswer,
        taken_at: Version,
    ) -> Completed {
        let options = self.options(attempt.key);
        let tokens = Tokens {
            answer,
            taken_at,
            sent_at: None,
            origin: None,
            assumed_life: options.and_then(|options| options.assume_expires_in),
            refresh_lifetime: self.0.refresh_lifetime(attempt.key),
        };
        match attempt.settle(&tokens, None, |_| {}).await {
            Settled::Row(stored) | Settled::Beaten(stored) => Completed::Row(stored.into()),
            Settled::Gone => {
                let provider = &attempt.key.provider;
                self.providers().revoke_given_up(provider, tokens.answer);
                Completed::Gone
            }
        }
    }
}

fn completed(verdict: Option<ReauthReason>, stored: Option<StoredRow>) -> Completed {
    match (verdict, stored) {
        (_, None) => Completed::Gone,
        (Some(reason), Some(_)) => Completed::ReauthRequired(reason),
        (None, Some(stored)) => Completed::Row(stored.into()),
    }
}
