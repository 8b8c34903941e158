//! The backend that needs no other software. It keeps everything in this process and loses it when the
//! process ends.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{
    Condition, Decoded, DeleteOutcome, DeletedIdentities, DeletedRows, Error, Health, Identities,
    Position, Put, PutOutcome, Store, UserRowKeys,
};
use crate::types::{ProviderName, RowKey, SessionId, StoredRow, UserId, Version};

/// A store that keeps rows in memory.
///
/// Each call is one atomic step, because it holds one lock for a few map operations and never across an
/// await.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, BTreeMap<ProviderName, Kept>>,
    /// The rows of each user by their numbers.
    users: HashMap<UserId, BTreeMap<u64, RowKey>>,
    /// The last number that was given to a row.
    last_number: u64,
    /// Tells the positions of this store from those of another one. It is drawn with the first row.
    id: u64,
    /// The number of rows.
    rows: usize,
    /// When rows expire, the earliest first. An entry is stale if its row was replaced or deleted: the
    /// version that it names doesn't exist any more. Stale entries are ignored.
    expirations: BinaryHeap<Reverse<Expiration>>,
}

#[derive(Debug)]
struct Kept {
    stored: StoredRow,
    /// The place of the row among the rows of its user. It keeps it when it is stored again.
    number: u64,
}

#[derive(Debug)]
struct Expiration {
    at: Instant,
    version: Version,
    key: RowKey,
}

impl Ord for Expiration {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Expiration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Expiration {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Expiration {}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks the state and removes the rows that have expired.
    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned state is still consistent: each change to the maps is complete before anything that
        // could panic.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.remove_expired(Instant::now());
        state
    }
}

impl State {
    fn remove_expired(&mut self, now: Instant) {
        while let Some(Reverse(next)) = self.expirations.peek()
            && next.at <= now
        {
            if let Some(Reverse(expiration)) = self.expirations.pop()
                && self.version(&expiration.key) == Some(expiration.version)
            {
                self.remove(&expiration.key);
            }
        }
    }

    /// Removes stale entries once they outnumber the others. Otherwise rows that are rewritten long before
    /// they expire would fill the heap.
    fn compact(&mut self) {
        if self.expirations.len() <= 2 * self.rows + 64 {
            return;
        }
        let mut expirations = std::mem::take(&mut self.expirations).into_vec();
        expirations.retain(|Reverse(expiration)| {
            self.version(&expiration.key) == Some(expiration.version)
        });
        self.expirations = expirations.into();
    }

    fn row(&self, key: &RowKey) -> Option<&StoredRow> {
        let kept = self.sessions.get(&key.session)?.get(&key.provider)?;
        Some(&kept.stored)
    }

    fn version(&self, key: &RowKey) -> Option<Version> {
        self.row(key).map(|stored| stored.version)
    }

    fn remove(&mut self, key: &RowKey) -> Option<Kept> {
        let session = self.sessions.get_mut(&key.session)?;
        let kept = session.remove(&key.provider)?;
        if session.is_empty() {
            self.sessions.remove(&key.session);
        }
        self.rows -= 1;
        if let Some(user) = &kept.stored.row.user_id
            && let Some(keys) = self.users.get_mut(user)
        {
            keys.remove(&kept.number);
            if keys.is_empty() {
                self.users.remove(user);
            }
        }
        Some(kept)
    }

    fn next_number(&mut self) -> u64 {
        if self.id == 0 {
            self.id = rand::random();
        }
        self.last_number += 1;
        self.last_number
    }

    /// Returns the number at which a listing continues.
    fn start(&self, position: Option<&Position>) -> u64 {
        let number = position.and_then(|position| {
            let bytes: &[u8; 16] = position.as_bytes().try_into().ok()?;
            let (id, number) = bytes.split_at(8);
            let is_own = id == self.id.to_be_bytes();
            is_own.then_some(u64::from_be_bytes(number.try_into().ok()?))
        });
        number.unwrap_or(0)
    }

    /// Removes the rows of `keys`. Returns how many there were.
    fn remove_all<'a>(&mut self, keys: impl IntoIterator<Item = &'a RowKey>) -> u64 {
        keys.into_iter()
            .map(|key| u64::from(self.remove(key).is_some()))
            .sum()
    }

    fn put(&mut self, put: &Put<'_>) -> PutOutcome {
        let replaced = self.version(put.key);
        if put.condition != Condition::Always && replaced == Some(put.version) {
            return PutOutcome::Written;
        }
        match put.condition {
            Condition::Absent if replaced.is_some() => return PutOutcome::Exists,
            Condition::Version(version) if replaced != Some(version) => {
                return PutOutcome::VersionMismatch;
            }
            _ => {}
        }
        if let Some((source, version)) = put.source
            && self.version(source) != Some(version)
        {
            return PutOutcome::SourceChanged;
        }
        let providers = self.sessions.get(&put.key.session).map_or(0, BTreeMap::len);
        if replaced.is_none() && providers >= put.max_providers {
            return PutOutcome::TooManyProviders;
        }

        let replaced = self.remove(put.key);
        let number = replaced
            .filter(|kept| kept.stored.row.user_id == put.row.user_id)
            .map_or_else(|| self.next_number(), |kept| kept.number);
        if let Some(span) = put.keep_for {
            let (at, version) = (Instant::now() + span, put.version);
            self.expirations.push(Reverse(Expiration {
                at,
                version,
                key: put.key.clone(),
            }));
        }
        if let Some(user) = &put.row.user_id {
            self.users
                .entry(user.clone())
                .or_default()
                .insert(number, put.key.clone());
        }
        let stored = StoredRow {
            row: put.row.clone(),
            version: put.version,
        };
        let session = self.sessions.entry(put.key.session.clone()).or_default();
        session.insert(put.key.provider.clone(), Kept { stored, number });
        self.rows += 1;
        self.compact();
        PutOutcome::Written
    }
}

impl Store for MemoryStore {
    const NAME: &'static str = "memory";

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        Ok(self.state().put(&put))
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        Ok(self.state().row(key).cloned().map(Ok))
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let state = self.state();
        let rows = state.sessions.get(session).into_iter().flatten();
        Ok(rows
            .map(|(provider, kept)| (provider.clone(), Ok(kept.stored.clone())))
            .collect())
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let mut state = self.state();
        let Some(stored) = state.version(key) else {
            return Ok(DeleteOutcome::Absent);
        };
        if version.is_some_and(|version| version != stored) {
            return Ok(DeleteOutcome::VersionMismatch);
        }
        state.remove(key);
        Ok(DeleteOutcome::Deleted)
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let mut state = self.state();
        let providers = state
            .sessions
            .get(session)
            .into_iter()
            .flat_map(BTreeMap::keys);
        let key = |provider: &ProviderName| RowKey {
            session: session.clone(),
            provider: provider.clone(),
        };
        let keys: Vec<_> = providers.map(key).collect();
        Ok(state.remove_all(&keys))
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        let mut state = self.state();
        let keys = state.users.get(user).cloned().unwrap_or_default();
        Ok(DeletedRows {
            count: state.remove_all(keys.values()),
            ..DeletedRows::default()
        })
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        let state = self.state();
        let Some(rows) = state.users.get(user) else {
            return Ok(UserRowKeys::default());
        };
        let mut rest = rows.range(state.start(position)..);
        let keys = rest.by_ref().take(at_most).map(|(_, key)| key.clone());
        let keys = keys.collect();
        let next = rest.next().map(|(number, _)| {
            Position::new([state.id.to_be_bytes(), number.to_be_bytes()].concat())
        });
        Ok(UserRowKeys { keys, next })
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let state = self.state();
        Ok(keys
            .iter()
            .map(|key| state.row(key).cloned().map(Ok))
            .collect())
    }
}

/// Nothing writes identities to this backend yet, so there are none to delete.
impl Identities for MemoryStore {
    async fn delete_user(&self, _: &UserId) -> Result<DeletedIdentities, Error> {
        Ok(DeletedIdentities::default())
    }
}

impl Health for MemoryStore {
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
}
