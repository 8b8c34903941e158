//! A store whose answers to writes get lost, as when a connection to Redis ends: the caller learns only that
//! the outcome is unknown.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use token_broker::{
    error::{Damage, Unopened},
    store::{
        Authorizations, CreateOutcome, Decoded, DeleteOutcome, DeletedIdentities, DeletedRows,
        Error, Identities, LinkOutcome, NewAuthorization, NewIdentity, Position, Put, PutOutcome,
        Resolved, Store, UnlinkOutcome, UserRowKeys,
    },
    types::{
        Identity, IdentityKey, Nonce, PendingAuthorization, ProviderName, RowKey, SessionId, State,
        UnixTime, UserId, UserRecord, Version,
    },
};
use tokio::time::sleep;

use crate::dice::Dice;

/// How long a broker tries to find out what became of a write. It may have to connect first.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a write whose answer gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never reaches the store.
    NotDone,
    /// It is done.
    Done,
    /// It is done after its caller was told that the outcome is unknown.
    DoneLate,
}

impl Fate {
    pub const ALL: [Self; 3] = [Self::NotDone, Self::Done, Self::DoneLate];
}

type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Which answers get lost.
enum Losses {
    /// The first one. Other code runs before the caller learns of it.
    First(Fate, Meanwhile),
    /// One in six.
    Some(Dice),
    None,
}

/// A store that forgets to answer.
pub struct Forgetful<S> {
    inner: Arc<S>,
    losses: Mutex<Losses>,
}

impl<S> Forgetful<S> {
    /// Returns a store that loses the answer to the first write, and then runs `meanwhile`.
    pub fn once(
        inner: S,
        fate: Fate,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self::with(inner, Losses::First(fate, Box::pin(meanwhile)))
    }

    /// Returns a store that loses one answer in six.
    pub fn often(inner: S, dice: Dice) -> Self {
        Self::with(inner, Losses::Some(dice))
    }

    fn with(inner: S, losses: Losses) -> Self {
        Self {
            inner: Arc::new(inner),
            losses: Mutex::new(losses),
        }
    }

    /// Returns the fate of a write, if its answer gets lost, how late it is done if it is late, and what runs meanwhile.
    fn loss(&self) -> Option<(Fate, Duration, Meanwhile)> {
        let mut losses = self.losses.lock().unwrap();
        match std::mem::replace(&mut *losses, Losses::None) {
            Losses::None => None,
            Losses::First(fate, meanwhile) => Some((fate, Duration::ZERO, meanwhile)),
            Losses::Some(mut dice) => {
                let fate = dice.once_in(6).then(|| *dice.pick(&Fate::ALL));
                let delay = Duration::from_millis(dice.in_range(0..30) as u64);
                *losses = Losses::Some(dice);
                Some((fate?, delay, Box::pin(async {})))
            }
        }
    }

    async fn write<T, F>(&self, write: impl FnOnce(Arc<S>) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let write = write(Arc::clone(&self.inner));
        let Some((fate, delay, meanwhile)) = self.loss() else {
            return write.await;
        };
        match fate {
            Fate::NotDone => drop(write),
            Fate::Done => drop(write.await),
            Fate::DoneLate => drop(tokio::spawn(async move {
                sleep(delay).await;
                drop(write.await);
            })),
        }
        meanwhile.await;
        Err(Error::Unknown("the answer got lost".to_owned()))
    }
}

impl<S: Store> Store for Forgetful<S> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        let (key, row) = (put.key.clone(), put.row.clone());
        let source = put.source.map(|(key, version)| (key.clone(), version));
        let Put {
            version,
            keep_for,
            condition,
            max_providers,
            ..
        } = put;
        self.write(|inner| async move {
            let put = Put {
                key: &key,
                row: &row,
                version,
                keep_for,
                condition,
                source: source.as_ref().map(|(key, version)| (key, *version)),
                max_providers,
            };
            inner.put(put).await
        })
        .await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        self.inner.get(key).await
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        self.inner.get_session(session).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        self.inner.get_many(keys).await
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        self.inner.user_rows(user, position, at_most).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let key = key.clone();
        self.write(|inner| async move { inner.delete(&key, version).await })
            .await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let session = session.clone();
        self.write(|inner| async move { inner.delete_session(&session).await })
            .await
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        let user = user.clone();
        self.write(|inner| async move { inner.delete_user_rows(&user).await })
            .await
    }
}

impl<S: Identities> Identities for Forgetful<S> {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        let (identity, new) = (identity.clone(), new.clone());
        self.write(|inner| async move { inner.resolve(&identity, &new).await })
            .await
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        self.inner.user(user).await
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        let (key, user, max) = (new.key.clone(), new.user.clone(), new.max);
        self.write(|inner| async move {
            let (key, user) = (&key, &user);
            inner.link(NewIdentity { key, user, max }).await
        })
        .await
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        self.inner.leads_to(identity).await
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        let (identity, user) = (identity.clone(), user.cloned());
        self.write(|inner| async move { inner.unlink(&identity, user.as_ref()).await })
            .await
    }

    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        self.inner.identities(user).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        self.inner.delete_user(user).await
    }
}

impl<S: Authorizations> Authorizations for Forgetful<S> {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        let (state, pending) = (new.state.clone(), new.pending.clone());
        let (keep_for, limits) = (new.keep_for, new.limits);
        self.write(|inner| async move {
            let new = NewAuthorization {
                state: &state,
                pending: &pending,
                keep_for,
                limits,
            };
            inner.create(new).await
        })
        .await
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        self.inner.pending(state).await
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        let (state, pending) = (state.clone(), pending.clone());
        self.write(|inner| async move { inner.take(&state, &pending, taker).await })
            .await
    }

    async fn now(&self) -> Result<UnixTime, Error> {
        self.inner.now().await
    }
}
