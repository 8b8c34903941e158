//! Authorization requests that wait for a provider's callback (guarantees, section 2.4).
//!
//! As [`tokens`](crate::tokens) does, this module says what the outcomes of the store mean, and knows neither gRPC nor Redis.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Error,
    store::{self, CreateOutcome, NewAuthorization, PendingLimits, until_known},
    types::{
        ClientId, Nonce, Payload, PendingAuthorization, ProviderName, Reach, SecretBytes,
        SessionId, State, UnixTime, UserId,
    },
};

/// How long an authorization waits if its creator doesn't say.
pub const USUAL_TTL: Duration = Duration::from_secs(600);
/// How long it may wait.
pub const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// How large a payload may be, in bytes.
pub const LARGEST_PAYLOAD: usize = 16 * 1024;
/// How long after its own time an authorization may still be taken. The store's clock counts, and this broker's only against
/// whoever prolongs the life of a value in the store.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The pending authorizations of one tenant, with the operations of the `PendingAuthorizations` service.
#[derive(Debug)]
pub struct Authorizations<S> {
    store: Arc<S>,
    options: AuthorizationOptions,
}

/// The settings of [`Authorizations`].
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationOptions {
    /// How many may wait.
    pub limits: PendingLimits,
    /// How long a call tries to find out what became of a write whose answer was lost.
    pub patience: Duration,
}

/// What an auth server keeps while a user is at a provider.
#[derive(Debug)]
pub struct NewPending {
    /// The state.
    pub state: State,
    /// The provider.
    pub provider: ProviderName,
    /// The session.
    pub session: SessionId,
    /// The OAuth client at the auth server.
    pub client: ClientId,
    /// The user, if it is known already.
    pub user: Option<UserId>,
    /// What the auth server needs at the callback.
    pub payload: SecretBytes,
    /// How long it waits.
    pub ttl: Duration,
}

impl<S: store::Authorizations> Authorizations<S> {
    /// Returns the pending authorizations that `store` keeps.
    pub fn new(store: Arc<S>, options: AuthorizationOptions) -> Self {
        Self { store, options }
    }

    /// Keeps a pending authorization. Returns when it expires.
    ///
    /// # Errors
    /// Returns [`Error::StateExists`], [`Error::TooManyPending`], [`Error::TooLarge`], and [`Error::OutcomeUnknown`] if the
    /// answer was lost, and the authorization isn't there.
    pub async fn create(&self, new: NewPending) -> Result<UnixTime, Error> {
        if new.payload.len() > LARGEST_PAYLOAD {
            return Err(Error::TooLarge {
                what: "payload",
                size: new.payload.len(),
                limit: LARGEST_PAYLOAD,
            });
        }
        let expires_at = UnixTime::now().plus(new.ttl);
        let pending = PendingAuthorization {
            id: Nonce::random(),
            provider: new.provider,
            session: new.session,
            client: new.client,
            user: new.user,
            expires_at,
            payload: Payload::Plain(new.payload),
        };
        let create = || {
            self.store.create(NewAuthorization {
                state: &new.state,
                pending: &pending,
                keep_for: new.ttl,
                limits: self.options.limits,
            })
        };
        // Somebody may have consumed it since: then its state is taken, which doesn't tell by whom.
        let tells = |outcome: &CreateOutcome| *outcome == CreateOutcome::Created;
        match until_known(self.options.patience, create(), create, tells).await? {
            CreateOutcome::Created => Ok(expires_at),
            CreateOutcome::Exists => Err(Error::StateExists),
            CreateOutcome::TooMany => Err(Error::TooManyPending),
        }
    }

    /// Takes a pending authorization, once. One that is out of `reach` stays, and counts as none.
    ///
    /// # Errors
    /// Returns [`Error::StateNotFound`]. Returns [`Error::ProviderMismatch`] if it is for another provider than
    /// `provider`: it is gone then. Returns [`Error::RecordUnreadable`] or [`Error::KeyMissing`] if it can't be read: it stays.
    pub async fn consume(
        &self,
        state: &State,
        provider: Option<&ProviderName>,
        reach: &Reach,
    ) -> Result<PendingAuthorization, Error> {
        let pending = self.store.pending(state).await?;
        let pending = pending.ok_or(Error::StateNotFound)??;
        let is_own = reach
            .client
            .as_ref()
            .is_none_or(|own| *own == pending.client);
        // Who names a provider may use it. A misrouted callback burns the authorization whatever it was for.
        let is_in_reach = provider.is_some() || reach.providers.has(&pending.provider);
        let has_expired = UnixTime::now() >= pending.expires_at.plus(CLOCK_SKEW);
        if !is_own || !is_in_reach || has_expired {
            return Err(Error::StateNotFound);
        }
        let taker = Nonce::random();
        let take = || self.store.take(state, &pending, taker);
        let taken = until_known(self.options.patience, take(), take, |taken| *taken).await;
        if !taken? {
            return Err(Error::StateNotFound);
        }
        if provider.is_some_and(|provider| *provider != pending.provider) {
            return Err(Error::ProviderMismatch);
        }
        Ok(pending)
    }
}
