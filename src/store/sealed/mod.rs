//! A decorator that seals the tokens of rows before a store gets them (guarantees, section 7).
//!
//! The store keeps one envelope a row, in a field of its own, and no token. What it has to know of the tokens are hashes,
//! which it is told. All that the store compares are the bytes of rows, versions, and these hashes: it never needs a key.
//!
//! Every store has this decorator, also where nothing is sealed: a row that somebody else has sealed must then be
//! [`Unreadable::KeyMissing`](crate::error::Unreadable::KeyMissing), and never count as one without tokens.

mod authorizations;
mod row;
mod users;

use std::{collections::BTreeMap, future::Future};

pub use self::row::Sealing;
use super::{
    Change, Decoded, DeleteOutcome, DeletedRows, Error, Health, LinkFigures, Position, Put,
    PutOutcome, Records, RowChange, Seen, Store, UserRowKeys,
};
use crate::types::{AttemptId, ProviderName, RowKey, SessionId, StoredRow, UserId, Version};

/// A store whose rows are sealed, if there is a key.
#[derive(Clone, Debug)]
pub struct Sealed<S> {
    inner: S,
    sealing: Sealing,
}

impl<S> Sealed<S> {
    /// Returns a store that seals the rows of `inner`.
    #[must_use]
    pub fn new(inner: S, sealing: Sealing) -> Self {
        Self { inner, sealing }
    }

    /// Returns the store that gets the sealed rows.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn open(&self, key: &RowKey, decoded: Decoded) -> Decoded {
        self.sealing.open(key, decoded?)
    }
}

impl<S: Store> Store for Sealed<S> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        match self.sealing.seal(put.key, put.row, put.version)? {
            // In a box, so that rows that aren't sealed make no way for it.
            Some(row) => Box::pin(self.inner.put(Put { row: &row, ..put })).await,
            None => self.inner.put(put).await,
        }
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let row = self.inner.get(key).await?;
        Ok(row.map(|row| self.open(key, row)))
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let rows = self.inner.get_session(session).await?.into_iter();
        let mut key = None::<RowKey>;
        let opened = rows.map(|(provider, row)| {
            let key = match &mut key {
                Some(key) => {
                    key.provider.clone_from(&provider);
                    key
                }
                none => none.insert(RowKey {
                    session: session.clone(),
                    provider: provider.clone(),
                }),
            };
            let opened = self.open(key, row);
            (provider, opened)
        });
        Ok(opened.collect())
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let rows = self.inner.get_many(keys).await?.into_iter().zip(keys);
        let open = |(row, key): (Option<Decoded>, &RowKey)| row.map(|row| self.open(key, row));
        Ok(rows.map(open).collect())
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
        self.inner.delete(key, version).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        self.inner.delete_session(session).await
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        self.inner.delete_user_rows(user).await
    }
}

impl<S: Records> Records for Sealed<S> {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        let mut seen = self.inner.look(key).await?;
        seen.row = seen.row.map(|row| self.open(key, row));
        Ok(seen)
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        let (Some(changed), Some(before)) = (change.row, seen.stored()) else {
            return self.inner.change(key, seen, change).await;
        };
        let version = changed.stored.version;
        let sealed = if changed.stored.row.user_id == before.row.user_id {
            self.sealing.seal(key, &changed.stored.row, version)?
        } else {
            // The store keeps the row's user, and what is sealed has to name the same one.
            let mut row = changed.stored.row.clone();
            row.user_id.clone_from(&before.row.user_id);
            self.sealing.seal(key, &row, version)?
        };
        let Some(row) = sealed else {
            return self.inner.change(key, seen, change).await;
        };
        let stored = StoredRow { row, version };
        let row = Some(RowChange {
            stored: &stored,
            ..changed
        });
        self.inner.change(key, seen, Change { row, ..change }).await
    }

    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.inner.ended(attempt)
    }
}

impl<S: Health> Health for Sealed<S> {
    async fn ready(&self) -> Result<(), Error> {
        self.inner.ready().await
    }

    async fn ready_each(all: &[&Self]) -> Vec<Result<(), Error>> {
        let inner: Vec<_> = all.iter().map(|sealed| &sealed.inner).collect();
        S::ready_each(&inner).await
    }

    fn link(&self) -> Option<LinkFigures> {
        self.inner.link()
    }
}
