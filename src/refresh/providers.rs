//! The providers of a tenant, with what the process keeps about each.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    provider::{Concern, Provider, ProviderOptions, Replay, Rotation, TokenAnswer, TokenHint, Why},
    revocation::Revocations,
    rules::Policy,
};
use crate::{
    error::Error,
    meter::Count,
    types::{Origin, ProviderName, Row, RowKey, Secret},
};

/// So long after its time limit a request may still arrive at the provider.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// So many names of providers that aren't configured are logged at most.
const OTHERS: usize = 64;
/// So long the log doesn't repeat why a provider fails.
const TOLD: Duration = Duration::from_secs(60);

/// The providers that are configured, by name. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    all: Arc<HashMap<ProviderName, Configured>>,
    /// Names of others that rows have, as far as they were logged.
    others: Arc<Mutex<HashSet<ProviderName>>>,
    /// How often a token couldn't be refreshed, because its provider isn't configured.
    not_configured: Arc<Count>,
    revocations: Revocations,
}

/// The token of a row that was deleted, where it is to be revoked.
#[derive(Debug)]
pub struct Deleted {
    provider: ProviderName,
    token: Secret,
    hint: TokenHint,
}

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

impl Providers {
    /// Returns the providers with these settings. Reads no file and connects to nothing.
    #[must_use]
    pub fn new(all: Vec<ProviderOptions>) -> Self {
        let all = all.into_iter();
        let named = all.map(|options| (options.name.clone(), Configured::new(options)));
        Self {
            all: Arc::new(named.collect()),
            others: Arc::default(),
            not_configured: Arc::default(),
            revocations: Revocations::default(),
        }
    }

    /// Returns the providers, with another queue of tokens to revoke.
    #[must_use]
    pub fn with_revocations(self, revocations: Revocations) -> Self {
        Self {
            revocations,
            ..self
        }
    }

    /// Returns the provider with this name, if it is configured.
    #[must_use]
    pub fn get(&self, name: &ProviderName) -> Option<&Configured> {
        self.all.get(name)
    }

    /// Returns the error for a row whose provider isn't configured. Logs the name, once, and at most 64 of them.
    pub fn not_configured(&self, name: &ProviderName) -> Error {
        self.not_configured.up();
        let mut others = locked(&self.others);
        if others.len() < OTHERS && others.insert(name.clone()) {
            let provider = name.as_str();
            tracing::warn!(
                provider,
                "a row's provider isn't configured, so that its tokens can't be refreshed"
            );
        }
        Error::ProviderNotConfigured
    }

    /// Returns how often [`Providers::not_configured`] was the answer.
    #[must_use]
    pub fn times_not_configured(&self) -> u64 {
        self.not_configured.get()
    }

    /// Returns how long a refresh token of this provider is assumed to live if no answer says: what its settings say, or
    /// else `usual`.
    #[must_use]
    pub fn refresh_lifetime(&self, name: &ProviderName, usual: Duration) -> Duration {
        let options = self.get(name).map(|found| found.provider.options());
        options
            .and_then(|options| options.refresh_lifetime)
            .unwrap_or(usual)
    }

    /// Returns all providers, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Configured> {
        self.all.values()
    }

    /// Returns the names of those that revoke the tokens of deleted rows.
    pub fn revoking(&self) -> impl Iterator<Item = &ProviderName> {
        let revoking = self.iter().filter(|found| found.revokes());
        revoking.map(|found| &found.provider.options().name)
    }

    /// Returns the token of a row that is revoked when the row is deleted: its refresh token, with which the access token
    /// ends, or else the access token. Returns `None` if the provider revokes none, or the token is from elsewhere.
    #[must_use]
    pub fn token_to_revoke(&self, provider: &ProviderName, row: Row) -> Option<Deleted> {
        let configured = self.get(provider).filter(|found| found.revokes())?;
        if !configured.accepts(row.origin.as_ref()) {
            return None;
        }
        let refresh = row
            .refresh_token
            .map(|token| (token, TokenHint::RefreshToken));
        let access = row
            .access_token
            .map(|token| (token, TokenHint::AccessToken));
        let (token, hint) = refresh.or(access)?;
        Some(Deleted {
            provider: provider.clone(),
            token,
            hint,
        })
    }

    /// Revokes a token in the background. Returns at once.
    pub fn revoke(&self, deleted: Deleted) {
        if let Some(configured) = self.get(&deleted.provider) {
            let provider = &configured.provider;
            self.revocations
                .revoke(provider, deleted.token, deleted.hint);
        }
    }

    /// Takes note that so many tokens of deleted rows weren't revoked, though they should be, because nobody knows them. Does
    /// nothing if the provider revokes none. Without a provider, it isn't known which one it is.
    pub fn not_revoked(&self, provider: Option<&ProviderName>, tokens: u64, why: &str) {
        let revokes = |name: &ProviderName| self.get(name).is_some_and(Configured::revokes);
        if provider.is_none_or(revokes) {
            self.revocations.lost(provider, tokens, why);
        }
    }

    /// Revokes in the background what a refresh brought for a row that was deleted meanwhile, if the tokens of deleted rows
    /// are revoked.
    pub(super) fn revoke_given_up(&self, provider: &ProviderName, answer: TokenAnswer) {
        let row = Row {
            access_token: Some(answer.access_token),
            refresh_token: answer.refresh_token,
            ..Row::default()
        };
        if let Some(deleted) = self.token_to_revoke(provider, row) {
            self.revoke(deleted);
        }
    }

    /// Returns the queue of tokens to revoke.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

impl Configured {
    fn new(options: ProviderOptions) -> Self {
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
            let mut failures = locked(&self.failures);
            failures.of_provider(error);
            failures.is_news(why, TOLD, Instant::now())
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
        let mut failures = locked(&self.failures);
        failures.of_row(self.hashed(key), error);
        if failures.is_news(why, Duration::MAX, Instant::now()) {
            let provider = &self.provider.options().name;
            tracing::warn!(%provider, why, "a token can't be refreshed now, which says nothing about others");
        }
    }

    /// Takes note that the provider's answer settled what becomes of a row.
    pub(super) fn succeeded(&self, permit: Permit<'_>, key: &RowKey) {
        locked(&self.failures).row_is_settled(self.hashed(key));
        self.works(permit);
    }

    /// Takes note that the provider answered as one that works.
    fn works(&self, permit: Permit<'_>) {
        locked(&self.failures).works();
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
        locked(&self.failures).error(None, span)
    }

    /// Returns the error for a caller who would have to wait for `span`, because calls about this row failed.
    pub(super) fn failure_of(&self, key: &RowKey, span: Duration) -> Error {
        locked(&self.failures).error(Some(self.hashed(key)), span)
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

    /// Asks for a call that has this place. `is_resent` says whether its token may have been redeemed.
    pub(super) fn admit(&self, place: gate::Place, is_resent: bool) -> Result<Permit<'_>, Stopped> {
        self.breakers.admit(place, is_resent)
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
