//! One provider of a tenant, with what the process keeps about it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    breaker::BreakerOptions,
    counts::Counts,
    due::Terms,
    failures::Failures,
    gate::{self, Gate},
    permit::{Breakers, Permit, Stopped},
    provider::{Concern, Provider, ProviderOptions, Replay, Rotation, Why},
    rules::Policy,
};
use crate::{
    error::Error,
    types::{Origin, RowKey, lock},
};

/// So long after its time limit a request may still arrive at the provider.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// So long the log doesn't repeat why a provider fails.
const TOLD: Duration = Duration::from_secs(60);

/// One provider, and what keeps the process from calling it too often.
#[derive(Debug)]
pub struct Configured {
    /// The provider.
    pub provider: Provider,
    /// Bounds calls and those who wait for them.
    pub gate: Gate,
    /// What became of the calls.
    pub counts: Counts,
    breakers: Breakers,
    /// Tells rows apart.
    hasher: RandomState,
    /// Why calls failed.
    failures: Mutex<Failures>,
    /// Wakes those whom the breaker stopped.
    works_again: Notify,
}

impl Configured {
    /// Returns the provider with these settings.
    pub(super) fn new(options: ProviderOptions) -> Self {
        let gate = Gate::new(
            options.max_concurrent,
            options.max_rate,
            options.max_waiters,
            tokio::time::Instant::now(),
        );
        Self {
            provider: Provider::new(options),
            gate,
            counts: Counts::default(),
            breakers: Breakers::new(BreakerOptions::default()),
            hasher: RandomState::new(),
            failures: Mutex::default(),
            works_again: Notify::new(),
        }
    }

    /// Returns what the provider's settings say about sending a refresh token again.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let options = self.provider.options();
        Policy {
            rotation: options.rotation,
            never_replay: options.replay == Replay::Never,
            request_timeout: options.timeout + ON_THE_WAY,
            rejected_interval: options.rejected_interval,
        }
    }

    /// Returns what the provider's settings say about when access tokens are refreshed.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let options = self.provider.options();
        Terms {
            margin: options.margin,
            kills_access_token: options.kills_access_token,
        }
    }

    /// Takes note of why a call about a row failed. What says something about the provider counts for the breaker; what says
    /// something about the one token doesn't. `is_in_doubt` says whether the token may have been redeemed.
    pub(super) fn failed(
        &self,
        permit: Permit<'_>,
        key: &RowKey,
        why: &Why,
        error: &Error,
        is_in_doubt: bool,
    ) {
        match why.concern() {
            Concern::Provider => {
                self.provider_failed(permit, key, error, Some(why));
            }
            Concern::Token => {
                self.row_failed(key, error);
                self.works(permit);
            }
            Concern::Unclear => {
                self.row_failed(key, error);
                permit.unclear(self.hashed(key), is_in_doubt);
            }
        }
    }

    /// Takes note that no request could be prepared.
    pub(super) fn not_prepared(&self, permit: Permit<'_>, key: &RowKey, error: &Error) {
        self.provider_failed(permit, key, error, None);
    }

    fn provider_failed(
        &self,
        permit: Permit<'_>,
        key: &RowKey,
        error: &Error,
        answered: Option<&Why>,
    ) {
        let why = error.operator_detail().unwrap_or_default();
        let is_news = {
            let mut failures = lock(&self.failures);
            failures.of_provider(error);
            failures.note_news(why, TOLD, Instant::now())
        };
        let provider = &self.provider.options().name;
        if is_news {
            let next = self.what_may_help(answered);
            tracing::warn!(%provider, why, "{error}: {next}");
        }
        if permit.provider_fails(self.hashed(key)) {
            tracing::warn!(%provider, why, "the breaker opens: calls about several rows failed; one goes through now and then");
        }
    }

    /// Returns what an operator can do about a provider that fails.
    fn what_may_help(&self, answered: Option<&Why>) -> String {
        let ProviderOptions {
            name,
            authentication,
            ..
        } = self.provider.options();
        let test = format!("token-broker providers test {name}");
        match answered {
            Some(why @ Why::ClientError(_)) => {
                let clock = why.may_be_the_clock(authentication);
                format!("`{test} --with-made-up-token` tells whether it is mended{clock}")
            }
            _ => format!("`{test}` may tell more"),
        }
    }

    /// Other rows may work meanwhile, so that each reason is told once, and not whenever it comes again.
    fn row_failed(&self, key: &RowKey, error: &Error) {
        let why = error.operator_detail().unwrap_or_default();
        let mut failures = lock(&self.failures);
        failures.of_row(self.hashed(key), error);
        if failures.note_news(why, Duration::MAX, Instant::now()) {
            let provider = &self.provider.options().name;
            tracing::warn!(%provider, why, "a token can't be refreshed now, which says nothing about others");
        }
    }

    /// Takes note that the provider's answer settled what becomes of a row.
    pub(super) fn succeeded(&self, permit: Permit<'_>, key: &RowKey) {
        lock(&self.failures).row_is_settled(self.hashed(key));
        self.works(permit);
    }

    /// Takes note that the provider answered as one that works.
    fn works(&self, permit: Permit<'_>) {
        lock(&self.failures).works();
        let restored = permit.works();
        if restored.calls {
            let provider = &self.provider.options().name;
            tracing::info!(%provider, "the breaker closes: the provider works again");
        }
        if restored.calls || restored.resending {
            self.works_again.notify_waiters();
        }
    }

    fn hashed(&self, key: &RowKey) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Waits until a call succeeds that the breaker let through to see whether the provider works again.
    pub(super) async fn works_again(&self) {
        self.works_again.notified().await;
    }

    /// Returns the error for a caller who would have to wait for `span`, because calls failed.
    pub(super) fn failure(&self, span: Duration) -> Error {
        lock(&self.failures).error(None, span)
    }

    /// Returns the error for a caller who would have to wait for `span`, because calls about this row failed.
    pub(super) fn failure_of(&self, key: &RowKey, span: Duration) -> Error {
        lock(&self.failures).error(Some(self.hashed(key)), span)
    }

    /// Writes what became of the calls to the log, if there were any.
    pub(super) fn log_counts(&self) {
        let counts = &self.counts;
        if counts.sent.get() == 0 {
            return;
        }
        tracing::info!(
            provider = %self.provider.options().name,
            sent = counts.sent.get(),
            tokens = counts.tokens.get(),
            refused = counts.refused.get(),
            misconfigured = counts.misconfigured.get(),
            passing = counts.passing.get(),
            unknown = counts.unknown.get(),
            in_doubt = counts.in_doubt.get(),
            waited = counts.waited.get(),
            turned_away = counts.turned_away.get(),
            "refreshes since the start"
        );
    }

    /// Returns how long it makes no sense to ask for a call, if the provider fails.
    pub(super) fn stopped(&self) -> Option<Duration> {
        self.breakers.stopped()
    }

    /// Asks for a call that has this slot. `is_resent` says whether its token may have been redeemed.
    pub(super) fn admit(
        &self,
        slot: gate::CallSlot,
        is_resent: bool,
    ) -> Result<Permit<'_>, Stopped> {
        self.breakers.admit(slot, is_resent)
    }

    /// Whether a token that may have been redeemed can be sent again.
    pub(super) fn may_resend(&self) -> bool {
        self.breakers.may_resend()
    }

    /// Whether calls are stopped because the provider fails.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.breakers.is_open()
    }

    /// Whether the tokens of deleted rows are revoked.
    #[must_use]
    pub fn revokes(&self) -> bool {
        self.provider.options().revoke_on_delete
    }

    /// Returns where tokens are obtained.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.provider.options().origin()
    }

    /// Whether a refresh token that was obtained at `origin` may be sent to the provider. Where it is unknown, it may.
    #[must_use]
    pub fn accepts(&self, origin: Option<&Origin>) -> bool {
        origin.is_none_or(|origin| self.provider.options().accepts(origin))
    }

    /// Whether a refresh token may be in two sessions: it stays valid however often it is redeemed.
    #[must_use]
    pub fn tokens_may_be_shared(&self) -> bool {
        self.provider.options().rotation == Rotation::None
    }
}
