//! One store behind several brokers.

use std::{collections::BTreeMap, sync::Arc};

use token_broker::{
    error::Error,
    store::{Decoded, DeleteOutcome, DeletedUser, Put, PutOutcome, Store},
    types::{ProviderName, RowKey, SessionId, UserId, Version},
};

/// A handle to a store; clones lead to the same one.
#[derive(Debug)]
pub struct Shared<S>(pub Arc<S>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> Store for Shared<S> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.0.put(put).await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        self.0.get(key).await
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        self.0.get_session(session).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        self.0.delete(key, version).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        self.0.delete_session(session).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedUser, Error> {
        self.0.delete_user(user).await
    }

    async fn user_rows(&self, user: &UserId) -> Result<Vec<RowKey>, Error> {
        self.0.user_rows(user).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        self.0.get_many(keys).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.0.check().await
    }
}
