//! Implements the traits for a store behind an [`Arc`], which brokers, services and tasks share.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use super::{
    Change, Decoded, DeleteOutcome, DeletedIdentities, DeletedRows, Error, Health, Identities,
    LinkFigures, Position, Put, PutOutcome, Records, Seen, Store, UserRowKeys,
};
use crate::types::{AttemptId, ProviderName, RowKey, SessionId, UserId, Version};

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
    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        S::delete_user(self, user).await
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
