//! Reading the rows of a user, a few at a time.

use crate::{
    error::Error,
    store::{Decoded, Store},
    types::{RowKey, UserId},
};

/// How many rows are read at once. With rows of the default limit that is at most 4 MiB.
const CHUNK: usize = 64;

/// The rows of a user, read chunk by chunk. The caller keeps what it needs of a chunk and drops the rest, so
/// that a user with thousands of rows costs no more memory than one with a few.
pub(super) struct UserRows<'a, S> {
    store: &'a S,
    user: &'a UserId,
    rest: &'a [RowKey],
}

impl<'a, S: Store> UserRows<'a, S> {
    /// Returns the rows of `user` under `keys`.
    pub(super) fn new(store: &'a S, user: &'a UserId, keys: &'a [RowKey]) -> Self {
        Self {
            store,
            user,
            rest: keys,
        }
    }

    /// Reads the rows of the next `at_most` keys at most. Leaves out rows that don't exist any more or belong
    /// to another user, but keeps those that can't be decoded. Returns `None` at the end.
    pub(super) async fn next(
        &mut self,
        at_most: usize,
    ) -> Result<Option<impl Iterator<Item = (&'a RowKey, Decoded)> + use<'a, S>>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (chunk, rest) = self.rest.split_at(self.rest.len().min(at_most).min(CHUNK));
        let rows = self.store.get_many(chunk).await?;
        self.rest = rest;
        let user = self.user;
        let own = chunk.iter().zip(rows).filter_map(move |(key, decoded)| {
            let decoded = decoded?;
            let is_own = |row: &Decoded| {
                let row = row.as_ref().ok();
                row.is_none_or(|stored| stored.row.user_id.as_ref() == Some(user))
            };
            is_own(&decoded).then_some((key, decoded))
        });
        Ok(Some(own))
    }

    /// Whether all rows were read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.rest.is_empty()
    }
}
