//! A store in whose calls something happens: what a race does once in a million times, each time.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Mutex};

use token_broker::{
    error::Error,
    store::{Decoded, DeleteOutcome, DeletedUser, Put, PutOutcome, Store},
    types::{ProviderName, RowKey, SessionId, UserId, Version},
};

/// After which call something happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    Get,
    GetMany,
}

/// A store between whose reads and writes somebody else is at work, once.
pub struct Meddled<S> {
    inner: S,
    after: After,
    meddling: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl<S> Meddled<S> {
    /// `meddling` happens when the first call of the kind has read what it reads.
    pub fn new(
        inner: S,
        after: After,
        meddling: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let meddling = Mutex::new(Some(Box::pin(meddling) as _));
        Self {
            inner,
            after,
            meddling,
        }
    }

    async fn meddle(&self, after: After) {
        if self.after == after {
            let meddling = self.meddling.lock().unwrap().take();
            if let Some(meddling) = meddling {
                meddling.await;
            }
        }
    }
}

impl<S: Store> Store for Meddled<S> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.inner.put(put).await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let answer = self.inner.get(key).await;
        self.meddle(After::Get).await;
        answer
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        self.inner.get_session(session).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        self.inner.delete(key, version).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        self.inner.delete_session(session).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedUser, Error> {
        self.inner.delete_user(user).await
    }

    async fn user_rows(&self, user: &UserId) -> Result<Vec<RowKey>, Error> {
        self.inner.user_rows(user).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let answer = self.inner.get_many(keys).await;
        self.meddle(After::GetMany).await;
        answer
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }
}
