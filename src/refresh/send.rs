//! Sending a refresh token that was taken, and what is done with the answer.

use std::time::Duration;

use super::{
    attempt::{Attempt, Settled, Tokens},
    back_off::back_off,
    decide::Token,
    flights::{End, Progress},
    provider::{Answer, Prepared, TokenAnswer},
    redeem::{LEFT, Next, Refresh, Taken},
    rules::LEASE,
    subject, told,
};
use crate::{
    error::{Error, ProviderFailure},
    store::Records,
    types::{ReauthReason, UnixTime},
};

impl<S: Records> Refresh<'_, S> {
    /// Sends the token, and writes what comes of it.
    pub(super) async fn redeem(
        &self,
        taken: Taken,
        prepared: Prepared,
        retried_credentials: &mut bool,
    ) -> Next {
        let attempt = self.attempt(taken.token.hash, taken.attempt);
        let sent_at = UnixTime::now();
        if taken.began.elapsed() + LEFT >= LEASE {
            self.withdraw_admission();
            attempt.withdraw().await;
            return Next::Again;
        }
        self.configured.counts.sent.up();
        let redeeming = async {
            let answer = prepared.send(&taken.token.secret).await;
            self.answered(&attempt, &taken.token, sent_at, answer, retried_credentials)
                .await
        };
        tokio::select! {
            next = redeeming => next,
            never = attempt.keep_lease() => never,
        }
    }

    async fn answered(
        &self,
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
                self.configured.succeeded(self.key);
                self.tokens(attempt, token, sent_at, *answer).await
            }
            Answer::Refused { code } => {
                counts.refused.up();
                self.configured.succeeded(self.key);
                let provider = &self.key.provider;
                tracing::info!(%provider, %code, "a refresh token was refused");
                self.verdict(attempt, false).await
            }
            Answer::OurFault {
                why,
                credentials_changed,
            } => {
                counts.misconfigured.up();
                if credentials_changed && !std::mem::replace(retried_credentials, true) {
                    self.withdraw_admission();
                    attempt.withdraw().await;
                    return Next::Again;
                }
                let error = Error::ProviderMisconfigured(ProviderFailure(why.to_string()));
                self.configured.failed(self.key, &why, &error);
                self.back_off(attempt, None, error).await
            }
            Answer::Passing { why, retry_after } => {
                counts.passing.up();
                let error = Error::provider_unavailable(why.to_string());
                self.configured.failed(self.key, &why, &error);
                self.back_off(attempt, retry_after, error).await
            }
            Answer::Unknown { why } => {
                counts.unknown.up();
                let error = Error::provider_unavailable(why.to_string());
                self.configured.failed(self.key, &why, &error);
                self.configured.is_in_doubt(self.key, &why);
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

    async fn verdict(&self, attempt: &Attempt<'_, S>, for_good: bool) -> Next {
        let noted = attempt.refused(for_good).await;
        if noted.verdict() == Some(ReauthReason::InDoubt) {
            self.configured.counts.in_doubt.up();
            told::in_doubt(&self.key.provider, told::REFUSED_AFTERWARDS);
        }
        Next::End(match (noted.verdict(), noted.stored) {
            (_, Some(stored)) if stored.version != self.version => End::Fresher(stored.into()),
            (Some(reason), Some(_)) => End::Failed(Error::ReauthRequired(reason)),
            (_, None) => End::Failed(Error::RowNotFound),
            (None, Some(stored)) => End::Fresher(stored.into()),
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
        if let Err(mismatch) = subject::check(&token.stored.row, &answer, Some(options)) {
            let provider = &self.key.provider;
            tracing::error!(%provider, %mismatch, "{}", subject::ANOTHER_USER);
            return self.verdict(attempt, true).await;
        }
        let tokens = Tokens {
            answer,
            taken_at: token.stored.version,
            sent_at: Some(sent_at),
            origin: Some(options.origin()),
            assumed_life: options.assume_expires_in,
            refresh_lifetime: self.shared.refresh_lifetime(self.key),
        };
        let unsaved = |row| self.slot.tell(Progress::Unsaved(Box::new(row)));
        let settled = attempt.settle(&tokens, Some(&token.stored), unsaved).await;
        if matches!(settled, Settled::Gone) {
            let providers = &self.shared.providers;
            providers.revoke_given_up(&self.key.provider, tokens.answer);
        }
        Next::End(match settled {
            Settled::Row(stored) => End::Row(stored.into()),
            Settled::Beaten(stored) => End::Fresher(stored.into()),
            Settled::Gone => End::Failed(Error::RowNotFound),
        })
    }
}
