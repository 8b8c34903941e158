//! The backend that needs nothing installed: everything is in this process and gone at its exit.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{
    Condition, Decoded, DeleteOutcome, DeletedIdentities, Error, Health, Identities, Put,
    PutOutcome, Store,
};
use crate::types::{ProviderName, RowKey, SessionId, StoredRow, UserId, Version};

/// Keeps rows in memory, behind one lock that is held for a few map operations and never across an
/// await: so each call is one atomic step.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, BTreeMap<ProviderName, StoredRow>>,
    users: HashMap<UserId, BTreeSet<RowKey>>,
    /// How many rows there are.
    rows: usize,
    /// When rows die, soonest first. An entry whose row was replaced or deleted meanwhile names a
    /// version that is no longer there, and means nothing.
    deaths: BinaryHeap<Reverse<Death>>,
}

#[derive(Debug)]
struct Death {
    at: Instant,
    version: Version,
    key: RowKey,
}

impl Ord for Death {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Death {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Death {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Death {}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state, without the rows that have died.
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and each change to the maps is complete before
        // anything that could: a poisoned state is as whole as any other.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.bury(Instant::now());
        state
    }
}

impl State {
    fn bury(&mut self, now: Instant) {
        while let Some(Reverse(next)) = self.deaths.peek()
            && next.at <= now
        {
            if let Some(Reverse(death)) = self.deaths.pop()
                && self.version(&death.key) == Some(death.version)
            {
                self.remove(&death.key);
            }
        }
    }

    /// Rows that are rewritten long before they die would fill the heap with entries that mean
    /// nothing.
    fn compact(&mut self) {
        if self.deaths.len() <= 2 * self.rows + 64 {
            return;
        }
        let mut deaths = std::mem::take(&mut self.deaths).into_vec();
        deaths.retain(|Reverse(death)| self.version(&death.key) == Some(death.version));
        self.deaths = deaths.into();
    }

    fn row(&self, key: &RowKey) -> Option<&StoredRow> {
        self.sessions.get(&key.session)?.get(&key.provider)
    }

    fn version(&self, key: &RowKey) -> Option<Version> {
        self.row(key).map(|stored| stored.version)
    }

    fn remove(&mut self, key: &RowKey) -> bool {
        let Some(session) = self.sessions.get_mut(&key.session) else {
            return false;
        };
        let Some(stored) = session.remove(&key.provider) else {
            return false;
        };
        if session.is_empty() {
            self.sessions.remove(&key.session);
        }
        self.rows -= 1;
        if let Some(user) = &stored.row.user_id
            && let Some(keys) = self.users.get_mut(user)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.users.remove(user);
            }
        }
        true
    }

    /// Answers how many there were.
    fn remove_all<'a>(&mut self, keys: impl IntoIterator<Item = &'a RowKey>) -> u64 {
        keys.into_iter()
            .map(|key| u64::from(self.remove(key)))
            .sum()
    }

    fn put(&mut self, put: &Put<'_>) -> PutOutcome {
        let replaced = self.version(put.key);
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

        self.remove(put.key);
        if let Some(span) = put.keep_for {
            let (at, version) = (Instant::now() + span, put.version);
            self.deaths.push(Reverse(Death {
                at,
                version,
                key: put.key.clone(),
            }));
        }
        if let Some(user) = &put.row.user_id {
            self.users
                .entry(user.clone())
                .or_default()
                .insert(put.key.clone());
        }
        let stored = StoredRow {
            row: put.row.clone(),
            version: put.version,
        };
        let session = self.sessions.entry(put.key.session.clone()).or_default();
        session.insert(put.key.provider.clone(), stored);
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
            .map(|(provider, row)| (provider.clone(), Ok(row.clone())))
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

    async fn delete_user_rows(&self, user: &UserId) -> Result<u64, Error> {
        let mut state = self.state();
        let keys = state.users.get(user).cloned().unwrap_or_default();
        Ok(state.remove_all(&keys))
    }

    async fn user_rows(&self, user: &UserId) -> Result<Vec<RowKey>, Error> {
        let state = self.state();
        Ok(state
            .users
            .get(user)
            .into_iter()
            .flatten()
            .cloned()
            .collect())
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let state = self.state();
        Ok(keys
            .iter()
            .map(|key| state.row(key).cloned().map(Ok))
            .collect())
    }
}

/// Nothing writes identities to this backend yet, so that there are none to delete.
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
