//! Going through the rows of a user, a few at a time.

use crate::{
    error::Error,
    store::{Decoded, Store},
    types::{RowKey, UserId},
};

/// How many rows are read at once: at most 4 MiB with rows of the default limit.
const CHUNK: usize = 64;

/// The rows of a user, read chunk by chunk. Who goes through them keeps what is needed of a chunk and drops
/// the rest, so that a user with thousands of rows costs no more memory than one with a few.
pub(super) struct UserRows<'a, S> {
    store: &'a S,
    user: &'a UserId,
    rest: &'a [RowKey],
}

impl<'a, S: Store> UserRows<'a, S> {
    /// The rows of `user` under `keys`.
    pub(super) fn new(store: &'a S, user: &'a UserId, keys: &'a [RowKey]) -> Self {
        Self {
            store,
            user,
            rest: keys,
        }
    }

    /// Reads on, under `at_most` keys. Leaves out rows that are gone or belong to another user; returns
    /// those that can't be decoded. `None` at the end.
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

    /// Whether there is nothing more to read.
    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}
