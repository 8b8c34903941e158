//! What callers tell that redeem refresh tokens themselves (guarantees, section 6, R15).

use std::{sync::Arc, time::Duration};

use super::{
    Refresher,
    attempt::{Attempt, Settled, Tokens},
    back_off::back_off,
    provider::TokenAnswer,
    told,
};
use crate::{
    error::Error,
    store::{self, Records},
    types::{
        AttemptId, AttemptState, EntryState, ReauthReason, RowKey, StoredRow, TokenHash, Version,
    },
};

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
    /// Takes note of what became of a redemption. May be repeated, and is accepted whatever happened to the lease. Goes on
    /// until it is written, also if the caller leaves. Who repeats it meanwhile waits for the same.
    ///
    /// # Errors
    /// Returns [`Error::RowUnreadable`], [`Error::KeyMissing`], [`Error::Overloaded`], and an error if the broker is about to end. The caller has
    /// to repeat the call: it has the only copy of the tokens.
    pub async fn complete(&self, key: &RowKey, completion: Completion) -> Result<Completed, Error> {
        let id = (key.clone(), completion.attempt);
        let noting = {
            let refresher = Self(Arc::clone(&self.0));
            let key = key.clone();
            async move {
                let _counted = refresher.0.flights.counted();
                refresher.note(&key, completion).await
            }
        };
        let noted = self.0.completions.join(id, noting);
        let stopping = || store::Error::unavailable("the broker is stopping").into();
        noted
            .ok_or(Error::Overloaded)?
            .await
            .unwrap_or_else(|| Err(stopping()))
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
            return Err(unreadable.into());
        }
        let stored = seen.stored();
        let is_held = stored.is_some_and(|stored| attempt.is_held_by(&stored.row));
        let entry = seen.record.entry(attempt.token);
        let known = entry.and_then(|entry| entry.attempt(attempt.id));
        // Nobody took such a token, and the row has another one.
        let is_made_up = entry.is_none() && !is_held;
        // What was told is told again, and the provider has given out the token once more since.
        let is_over = known == Some(AttemptState::Ended)
            && entry.is_some_and(|entry| entry.state == EntryState::Free);
        let noted = match completion.outcome {
            _ if is_made_up => return Ok(completed(None, stored.cloned())),
            Outcome::Tokens(_) if is_over => attempt.withdraw().await,
            Outcome::Tokens(answer) => {
                return Ok(self.settle(&attempt, *answer, completion.version).await);
            }
            Outcome::Refused if known.is_some() => {
                let noted = attempt.refused().await;
                if noted.verdict() == Some(ReauthReason::InDoubt) {
                    told::in_doubt(&key.provider, told::REFUSED_AFTERWARDS);
                }
                noted
            }
            Outcome::NotRedeemed {
                retry_after: Some(pause),
            } if known.is_some() => attempt.passing(|_| pause).await,
            // Who took nothing has sent nothing.
            Outcome::Refused | Outcome::NotRedeemed { .. } => attempt.withdraw().await,
            Outcome::Unknown => attempt.no_answer(back_off).await,
        };
        let verdict = noted.verdict();
        let stored = noted.row.transpose().map_err(Error::from)?;
        Ok(completed(verdict, stored))
    }

    async fn settle(
        &self,
        attempt: &Attempt<'_, S>,
        answer: TokenAnswer,
        taken_at: Version,
    ) -> Completed {
        let configured = self.providers().get(&attempt.key.provider);
        let tokens = Tokens {
            answer,
            options: configured.map(|configured| configured.provider.options()),
            taken_at,
            sent_at: None,
            origin: None,
            refresh_lifetime: self.0.refresh_lifetime(attempt.key),
            witness: &self.0.options.witness,
        };
        match attempt.settle(&tokens, None, |_| {}).await {
            Settled::Row(stored) | Settled::Beaten(stored) => Completed::Row(stored.into()),
            Settled::AnotherUsers(_) => Completed::ReauthRequired(ReauthReason::Refused),
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
