//! The providers of a tenant.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    configured::Configured,
    provider::{ProviderOptions, TokenAnswer, TokenHint},
    revocation::Revocations,
};
use crate::{
    error::Error,
    meter::Count,
    types::{ProviderName, Row, Secret, lock},
};

/// So many names of providers that aren't configured are logged at most.
const OTHERS: usize = 64;

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
        let mut others = lock(&self.others);
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
