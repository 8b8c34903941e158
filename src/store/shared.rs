//! Implements the traits for a store behind an [`Arc`], which brokers, services and tasks share.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use super::{
    Authorizations, Change, CreateOutcome, Decoded, DeleteOutcome, DeletedIdentities, DeletedRows,
    Error, Health, Identities, LinkFigures, LinkOutcome, NewAuthorization, NewIdentity, Position,
    Put, PutOutcome, Records, Resolved, Seen, Store, UnlinkOutcome, UserRowKeys,
};
use crate::{
    error::{Damage, Unopened},
    types::{
        AttemptId, Identity, IdentityKey, Nonce, PendingAuthorization, ProviderName, RowKey,
        SessionId, State, UnixTime, UserId, UserRecord, Version,
    },
};

impl<S: Store> Store for Arc<S> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        S::put(self, put).await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        S::get(self, key).await
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        S::get_session(self, session).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        S::get_many(self, keys).await
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        S::user_rows(self, user, position, at_most).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        S::delete(self, key, version).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        S::delete_session(self, session).await
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        S::delete_user_rows(self, user).await
    }
}

impl<S: Records> Records for Arc<S> {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        S::look(self, key).await
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        S::change(self, key, seen, change).await
    }

    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        S::ended(self, attempt)
    }
}

impl<S: Identities> Identities for Arc<S> {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        S::resolve(self, identity, new).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        S::user(self, user).await
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        S::link(self, new).await
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        S::leads_to(self, identity).await
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        S::unlink(self, identity, user).await
    }

    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        S::identities(self, user).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        S::delete_user(self, user).await
    }
}

impl<S: Authorizations> Authorizations for Arc<S> {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        S::create(self, new).await
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        S::pending(self, state).await
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        S::take(self, state, pending, taker).await
    }

    async fn now(&self) -> Result<UnixTime, Error> {
        S::now(self).await
    }
}

impl<S: Health> Health for Arc<S> {
    async fn ready(&self) -> Result<(), Error> {
        S::ready(self).await
    }

    async fn ready_each(all: &[&Self]) -> Vec<Result<(), Error>> {
        let all: Vec<_> = all.iter().map(|backend| &***backend).collect();
        S::ready_each(&all).await
    }

    fn link(&self) -> Option<LinkFigures> {
        S::link(self)
    }
}
