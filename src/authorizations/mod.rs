//! Authorization requests that wait for a provider's callback (guarantees, section 2.4).
//!
//! As [`tokens`](crate::tokens) does, this module says what the outcomes of the store mean, and knows neither gRPC nor Redis.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{Damage, Error},
    store::{self, CreateOutcome, NewAuthorization, PendingLimit, PendingLimits, until_known},
    types::{
        ClientId, Nonce, Payload, PendingAuthorization, ProviderName, Reach, SecretBytes,
        SessionId, State, TypeNames, UnixTime, UserId,
    },
};

/// How long an authorization waits if its creator doesn't say.
pub const USUAL_TTL: Duration = Duration::from_secs(600);
/// How long it may wait.
pub const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// How large a payload may be, in bytes.
pub const LARGEST_PAYLOAD: usize = 16 * 1024;
/// How long after its own time an authorization may still be taken, against whoever prolongs the life of a value in the store.
/// The store's clock counts, and another server's after a failover.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The pending authorizations of one tenant, with the operations of the `PendingAuthorizations` service.
#[derive(Debug)]
pub struct Authorizations<S> {
    store: Arc<S>,
    options: AuthorizationOptions,
    type_names: TypeNames,
}

/// What became of an authorization that a caller asked for.
#[derive(Debug)]
pub enum Consumed {
    /// The caller has it, alone.
    Taken(PendingAuthorization),
    /// It was for another provider, and is gone.
    Misrouted(PendingAuthorization),
    /// It is out of the caller's reach, and stays. The caller must not learn that it is there.
    OutOfReach(PendingAuthorization),
}

impl Consumed {
    /// Returns what the caller gets.
    ///
    /// # Errors
    /// Returns [`Error::ProviderMismatch`] or [`Error::StateNotFound`].
    pub fn given(self) -> Result<PendingAuthorization, Error> {
        match self {
            Self::Taken(pending) => Ok(pending),
            Self::Misrouted(_) => Err(Error::ProviderMismatch),
            Self::OutOfReach(_) => Err(Error::StateNotFound),
        }
    }
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
        Self {
            store,
            options,
            type_names: TypeNames::default(),
        }
    }

    /// Sets which protocol types providers may have for a name.
    #[must_use]
    pub fn naming(self, type_names: TypeNames) -> Self {
        Self { type_names, ..self }
    }

    /// Keeps a pending authorization. Returns when it expires, by the store's clock.
    ///
    /// # Errors
    /// Returns [`Error::StateExists`], [`Error::TooManyPending`], [`Error::TooLarge`], [`Error::Invalid`] if the provider has the
    /// name of a protocol type, and [`Error::OutcomeUnknown`] if the answer was lost, and the authorization isn't there.
    pub async fn create(&self, new: NewPending) -> Result<UnixTime, Error> {
        Error::check_name(&new.provider, self.type_names)?;
        if new.payload.len() > LARGEST_PAYLOAD {
            return Err(Error::TooLarge {
                what: "payload",
                size: new.payload.len(),
                limit: LARGEST_PAYLOAD,
            });
        }
        let expires_at = self.store.now().await?.plus(new.ttl);
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
        let outcome = until_known(self.options.patience, create(), create, tells).await;
        match outcome.map_err(once)? {
            CreateOutcome::Created => Ok(expires_at),
            CreateOutcome::Exists => Err(Error::StateExists),
            CreateOutcome::TooMany(limit) => Err(self.too_many(limit)),
        }
    }

    fn too_many(&self, limit: PendingLimit) -> Error {
        let (of, unit) = match limit {
            PendingLimit::OfClient => ("the client", "authorizations"),
            PendingLimit::OfTenant => ("the tenant", "authorizations"),
            PendingLimit::BytesOfClient => ("the client", "bytes"),
            PendingLimit::BytesOfTenant => ("the tenant", "bytes"),
        };
        let limit = self.options.limits.of(limit);
        Error::TooManyPending { of, limit, unit }
    }

    /// Takes a pending authorization, once. One that is out of `reach` stays, and counts as none.
    ///
    /// # Errors
    /// Returns [`Error::StateNotFound`]. Returns [`Error::ProviderMismatch`] if it is for another provider than
    /// `provider`: it is gone then. Returns [`Error::RecordUnreadable`] or [`Error::KeyMissing`] if it can't be read, and doesn't
    /// show that it is out of `reach`: it stays.
    pub async fn consume(
        &self,
        state: &State,
        provider: Option<&ProviderName>,
        reach: &Reach,
    ) -> Result<PendingAuthorization, Error> {
        self.ask_for(state, provider, reach).await?.given()
    }

    /// The same as [`Authorizations::consume`], but also tells of an authorization that the caller doesn't get.
    ///
    /// # Errors
    /// Returns the other errors of [`Authorizations::consume`].
    pub async fn ask_for(
        &self,
        state: &State,
        provider: Option<&ProviderName>,
        reach: &Reach,
    ) -> Result<Consumed, Error> {
        let found = self.store.pending(state).await?;
        let found = found.ok_or(Error::StateNotFound)?;
        let shown = match &found {
            Ok(pending) => Some(pending),
            Err(unopened) => unopened.shown(),
        };
        if let Some(pending) = shown
            && !is_within(reach, pending, provider)
        {
            return match self.is_over(pending).await? {
                true => Err(Error::StateNotFound),
                false => Ok(Consumed::OutOfReach(pending.clone())),
            };
        }
        let pending = found?;
        if let Payload::Plain(payload) = &pending.payload
            && payload.len() > LARGEST_PAYLOAD
        {
            let what = "its payload is larger than any that a broker keeps";
            return Err(Error::RecordUnreadable(Damage(what.to_owned())));
        }
        if self.is_over(&pending).await? {
            return Err(Error::StateNotFound);
        }
        let taker = Nonce::random();
        let take = || self.store.take(state, &pending, taker);
        let taken = until_known(self.options.patience, take(), take, |taken| *taken).await;
        if !taken.map_err(once)? {
            return Err(Error::StateNotFound);
        }
        match provider.is_some_and(|provider| *provider != pending.provider) {
            true => Ok(Consumed::Misrouted(pending)),
            false => Ok(Consumed::Taken(pending)),
        }
    }

    /// Whether an authorization can't be taken any more.
    async fn is_over(&self, pending: &PendingAuthorization) -> Result<bool, Error> {
        Ok(self.store.now().await? >= pending.expires_at.plus(CLOCK_SKEW))
    }
}

/// Whether a caller that names `provider`, or none, reaches an authorization. One that can't be opened is judged by what is
/// readable of it, though nothing vouches for that: it isn't given to anybody.
fn is_within(
    reach: &Reach,
    pending: &PendingAuthorization,
    provider: Option<&ProviderName>,
) -> bool {
    let client = reach.client.as_ref();
    // Who names a provider may use it. A misrouted callback burns the authorization whatever it was for.
    client.is_none_or(|own| *own == pending.client)
        && (provider.is_some() || reach.providers.has(&pending.provider))
}

/// Returns the error of a write that answers otherwise when it is repeated.
fn once(error: store::Error) -> Error {
    Error::from(error).of_a_single_write()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::{error::Unopened, store::MemoryStore};

    /// A store whose clock says something else than this machine's.
    #[derive(Default)]
    struct Elsewhere {
        store: MemoryStore,
        seconds: AtomicI64,
    }

    impl store::Authorizations for Elsewhere {
        async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, store::Error> {
            self.store.create(new).await
        }

        async fn pending(
            &self,
            state: &State,
        ) -> Result<Option<Result<PendingAuthorization, Unopened>>, store::Error> {
            self.store.pending(state).await
        }

        async fn take(
            &self,
            state: &State,
            pending: &PendingAuthorization,
            taker: Nonce,
        ) -> Result<bool, store::Error> {
            self.store.take(state, pending, taker).await
        }

        async fn now(&self) -> Result<UnixTime, store::Error> {
            let seconds = self.seconds.load(Ordering::Relaxed);
            UnixTime::from_seconds(seconds).ok_or_else(|| store::Error::unavailable("no time"))
        }
    }

    /// This machine's clock says nothing about an authorization, however far it is off: the store's does, which all brokers see.
    #[tokio::test]
    async fn authorizations_expire_by_the_clock_of_the_store() {
        let store = Arc::new(Elsewhere::default());
        let limits = PendingLimits {
            of_client: 9,
            of_tenant: 9,
        };
        let options = AuthorizationOptions {
            limits,
            patience: Duration::from_secs(1),
        };
        let pending = Authorizations::new(Arc::clone(&store), options);
        for (after, is_good) in [(0, true), (659, true), (660, false)] {
            let state = State::new(format!("x{after}")).unwrap();
            store.seconds.store(5_000, Ordering::Relaxed);
            let new = NewPending {
                state: state.clone(),
                provider: ProviderName::new("p").unwrap(),
                session: SessionId::new("s").unwrap(),
                client: ClientId::new("c").unwrap(),
                user: None,
                payload: SecretBytes::new(Vec::new()),
                ttl: USUAL_TTL,
            };
            let expires_at = pending.create(new).await.unwrap();
            assert_eq!(expires_at.seconds(), 5_600);
            store.seconds.store(5_000 + after, Ordering::Relaxed);
            let taken = pending.consume(&state, None, &Reach::default()).await;
            assert_eq!(taken.is_ok(), is_good, "after {after} s: {taken:?}");
        }
    }
}
