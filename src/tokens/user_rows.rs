//! Reading the rows of a user, a few at a time.

use std::collections::VecDeque;

use crate::{
    error::Error,
    store::{Decoded, Position, Store},
    types::{ProviderName, RowKey, UserId},
};

/// How many rows are read at once. With rows of the default limit that is at most 4 MiB.
pub(super) const CHUNK: usize = 64;
/// How many keys are read at once.
const KEYS: usize = 500;

/// All rows of a user at a provider, read chunk by chunk. The caller keeps what it needs of a chunk and drops the
/// rest, so that a user with thousands of rows costs no more memory than one with a few. A row may come twice.
pub(super) struct UserRows<'a, S> {
    store: &'a S,
    user: &'a UserId,
    provider: &'a ProviderName,
    keys: VecDeque<RowKey>,
    rest: Rest,
}

/// Which keys are still to be read.
enum Rest {
    All,
    From(Position),
    Nothing,
}

impl<'a, S: Store> UserRows<'a, S> {
    /// Returns the rows of `user` at `provider`.
    pub(super) fn new(store: &'a S, user: &'a UserId, provider: &'a ProviderName) -> Self {
        Self {
            store,
            user,
            provider,
            keys: VecDeque::new(),
            rest: Rest::All,
        }
    }

    /// Reads the next rows, as [`own_rows`] does. Returns `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<(RowKey, Decoded)>>, Error> {
        while self.keys.len() < CHUNK {
            let position = match &self.rest {
                Rest::All => None,
                Rest::From(position) => Some(position),
                Rest::Nothing => break,
            };
            let page = self.store.user_rows(self.user, position, KEYS).await?;
            self.rest = page.next.map_or(Rest::Nothing, Rest::From);
            let keys = page.keys.into_iter();
            self.keys
                .extend(keys.filter(|key| key.provider == *self.provider));
        }
        if self.keys.is_empty() {
            return Ok(None);
        }
        let chunk: Vec<_> = self.keys.drain(..self.keys.len().min(CHUNK)).collect();
        own_rows(self.store, self.user, chunk).await.map(Some)
    }
}

/// Reads the rows of `keys`. Leaves out rows that don't exist any more or belong to another user, but keeps those that
/// can't be decoded.
pub(super) async fn own_rows<S: Store>(
    store: &S,
    user: &UserId,
    keys: Vec<RowKey>,
) -> Result<Vec<(RowKey, Decoded)>, Error> {
    let rows = store.get_many(&keys).await?;
    let own = keys.into_iter().zip(rows).filter_map(|(key, decoded)| {
        let decoded = decoded?;
        let is_own = |row: &Decoded| {
            let row = match row {
                Ok(stored) => Some(stored),
                Err(unreadable) => unreadable.shown(),
            };
            row.is_none_or(|stored| stored.row.user_id.as_ref() == Some(user))
        };
        is_own(&decoded).then_some((key, decoded))
    });
    Ok(own.collect())
}
