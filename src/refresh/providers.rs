//! The providers of a tenant, with what the process keeps about each.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    breaker::{Breaker, BreakerOptions},
    gate::Gate,
    provider::{Provider, ProviderOptions, Rotation},
};
use crate::types::{Origin, ProviderName, RowKey};

/// The providers that are configured, by name. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Providers(Arc<HashMap<ProviderName, Configured>>);

/// One provider, and what keeps the process from calling it too often.
#[derive(Debug)]
pub struct Configured {
    /// The provider.
    pub provider: Provider,
    /// Stops calls while the provider fails. Rows are told apart by [`Configured::row_hash`].
    pub breaker: Mutex<Breaker<u64>>,
    /// Bounds calls and those who wait for them.
    pub gate: Gate,
    hasher: RandomState,
}

impl Providers {
    /// Returns the providers with these settings. Reads no file and connects to nothing.
    #[must_use]
    pub fn new(all: Vec<ProviderOptions>) -> Self {
        let all = all.into_iter();
        let named = all.map(|options| (options.name.clone(), Configured::new(options)));
        Self(Arc::new(named.collect()))
    }

    /// Returns the provider with this name, if it is configured.
    #[must_use]
    pub fn get(&self, name: &ProviderName) -> Option<&Configured> {
        self.0.get(name)
    }

    /// Returns all providers, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Configured> {
        self.0.values()
    }
}

impl Configured {
    fn new(options: ProviderOptions) -> Self {
        let gate = Gate::new(
            options.max_concurrent,
            options.max_rate,
            options.max_waiters,
            Instant::now(),
        );
        Self {
            provider: Provider::new(options),
            breaker: Mutex::new(Breaker::new(BreakerOptions::default())),
            gate,
            hasher: RandomState::new(),
        }
    }

    /// Returns a number by which the breaker tells rows apart. It differs from process to process.
    #[must_use]
    pub fn row_hash(&self, key: &RowKey) -> u64 {
        self.hasher.hash_one(key)
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

    /// Returns how long a refresh token lives if the provider doesn't say, where that is configured.
    #[must_use]
    pub fn refresh_lifetime(&self) -> Option<Duration> {
        self.provider.options().refresh_lifetime
    }
}
