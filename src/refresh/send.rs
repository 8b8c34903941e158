//! Sending a refresh token that was taken, and what is done with the answer.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    attempt::{Attempt, Settled, Tokens},
    back_off::back_off,
    decide::Token,
    flights::{End, Progress, UNSAVED},
    permit::Permit,
    provider::{Answer, Prepared, TokenAnswer},
    redeem::{LEFT, Next, Refresh, Taken},
    rules::LEASE,
    told,
};
use crate::{
    error::{Error, ProviderFailure},
    store::Records,
    types::{ReauthReason, StoredRow, UnixTime},
};

impl<S: Records> Refresh<'_, S> {
    /// Sends the token, and writes what comes of it.
    pub(super) async fn redeem(
        &self,
        permit: Permit<'_>,
        taken: Taken,
        prepared: Prepared,
        retried_credentials: &mut bool,
    ) -> Next {
        let attempt = self.attempt(taken.token.hash, taken.attempt);
        let sent_at = UnixTime::now();
        if taken.began.elapsed() + LEFT >= LEASE {
            drop(permit);
            attempt.withdraw().await;
            return Next::Again;
        }
        self.configured.counts.sent.up();
        let redeeming = async {
            let answer = prepared.send(&taken.token.secret).await;
            let (attempt, token) = (&attempt, &taken.token);
            self.answered(permit, attempt, token, sent_at, answer, retried_credentials)
                .await
        };
        tokio::select! {
            next = redeeming => next,
            never = attempt.keep_lease() => never,
        }
    }

    async fn answered(
        &self,
        permit: Permit<'_>,
        attempt: &Attempt<'_, S>,
        token: &Token,
        sent_at: UnixTime,
        answer: Answer,
        retried_credentials: &mut bool,
    ) -> Next {
        let counts = &self.configured.counts;
        match answer {
            Answer::Tokens(answer) => {
                counts.tokens.up();
                self.configured.succeeded(permit, self.key);
                self.tokens(attempt, token, sent_at, *answer).await
            }
            Answer::Refused { code } => {
                counts.refused.up();
                self.configured.succeeded(permit, self.key);
                let provider = &self.key.provider;
                tracing::info!(%provider, %code, "a refresh token was refused");
                self.verdict(attempt).await
            }
            Answer::OurFault {
                why,
                credentials_changed,
            } => {
                counts.misconfigured.up();
                if credentials_changed && !std::mem::replace(retried_credentials, true) {
                    drop(permit);
                    attempt.withdraw().await;
                    return Next::Again;
                }
                let error = Error::ProviderMisconfigured(ProviderFailure(why.to_string()));
                self.configured
                    .failed(permit, self.key, &why, &error, false);
                self.back_off(attempt, None, error).await
            }
            Answer::Passing { why, retry_after } => {
                counts.passing.up();
                let error = Error::provider_unavailable(why.to_string());
                self.configured
                    .failed(permit, self.key, &why, &error, false);
                self.back_off(attempt, retry_after, error).await
            }
            Answer::Unknown { why } => {
                counts.unknown.up();
                let error = Error::provider_unavailable(why.to_string());
                self.configured.failed(permit, self.key, &why, &error, true);
                let provider = &self.key.provider;
                tracing::warn!(%provider, %why, "it isn't known whether a refresh token was redeemed");
                attempt.no_answer(back_off).await;
                Next::Again
            }
        }
    }

    pub(super) async fn back_off(
        &self,
        attempt: &Attempt<'_, S>,
        retry_after: Option<Duration>,
        error: Error,
    ) -> Next {
        let pause = |failures| back_off(failures).max(retry_after.unwrap_or_default());
        let noted = attempt.passing(pause).await;
        if let Some(reason) = noted.verdict() {
            return Next::End(End::Failed(Error::ReauthRequired(reason)));
        }
        match error {
            error @ Error::ProviderMisconfigured(_) => Next::End(End::Failed(error)),
            _ => Next::Again,
        }
    }

    async fn verdict(&self, attempt: &Attempt<'_, S>) -> Next {
        let noted = attempt.refused().await;
        let reason = noted.verdict();
        if reason == Some(ReauthReason::InDoubt) {
            self.configured.counts.in_doubt.up();
            told::in_doubt(&self.key.provider, told::REFUSED_AFTERWARDS);
        }
        Next::End(match (reason, noted.row) {
            (_, None) => End::Failed(Error::RowNotFound),
            (_, Some(Err(unreadable))) => End::Failed(unreadable.into()),
            (Some(reason), Some(Ok(stored))) if stored.version == self.version => {
                End::Failed(Error::ReauthRequired(reason))
            }
            (_, Some(Ok(stored))) => End::Fresher(stored.into()),
        })
    }

    async fn tokens(
        &self,
        attempt: &Attempt<'_, S>,
        token: &Token,
        sent_at: UnixTime,
        answer: TokenAnswer,
    ) -> Next {
        let options = self.configured.provider.options();
        let tokens = Tokens {
            answer,
            options: Some(options),
            taken_at: token.stored.version,
            sent_at: Some(sent_at),
            origin: Some(options.origin()),
            refresh_lifetime: self.shared.refresh_lifetime(self.key),
            witness: &self.shared.options.witness,
        };
        let until = Instant::now() + UNSAVED;
        let unsaved = |row: Option<StoredRow>| {
            let progress = row.map(|row| Progress::Unsaved(row.into(), until));
            self.slot.tell(progress.unwrap_or(Progress::Running));
        };
        let settled = attempt.settle(&tokens, Some(&token.stored), unsaved).await;
        Next::End(match settled {
            Settled::Row(stored) => End::Row(stored.into()),
            Settled::Beaten(stored) => End::Fresher(stored.into()),
            Settled::AnotherUsers(_) => End::Failed(Error::ReauthRequired(ReauthReason::Refused)),
            Settled::Gone => {
                let providers = &self.shared.providers;
                providers.revoke_given_up(&self.key.provider, tokens.answer);
                End::Failed(Error::RowNotFound)
            }
        })
    }
}
