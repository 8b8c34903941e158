//! The operations. Each holds one lock, except where a flaw separates its steps.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync,
};

use token_broker::{
    error::Unreadable,
    store::{
        Condition, Decoded, DeleteOutcome, DeletedRows, Error, Position, Put, PutOutcome, Store,
        UserRowKeys,
    },
    types::{ProviderName, RowKey, SessionId, UnixTime, UserId, Version},
};

use super::{
    Flaw, NaiveBackend,
    state::{Kept, State},
};

/// One broker's handle to the data.
pub struct NaiveStore {
    pub(super) data: NaiveBackend,
    /// Only a flaw uses it.
    cache: sync::Mutex<HashMap<RowKey, Option<Decoded>>>,
}

impl NaiveStore {
    pub(super) fn new(data: NaiveBackend) -> Self {
        Self {
            data,
            cache: sync::Mutex::default(),
        }
    }

    pub(super) fn flaw(&self) -> Flaw {
        self.data.flaw
    }

    pub(super) fn read(&self, state: &mut State, key: &RowKey) -> Option<Decoded> {
        let name = self.flaw().row_key(key);
        let decoded = state.rows.get(&name)?.decoded.clone();
        let expired = |decoded: &Decoded| {
            let now = UnixTime::now();
            decoded
                .as_ref()
                .is_ok_and(|stored| stored.row.is_expired(now))
        };
        match self.flaw() {
            Flaw::HidesExpiredRows if expired(&decoded) => None,
            Flaw::DeletesOnRead if expired(&decoded) => {
                state.rows.remove(&name);
                Some(decoded)
            }
            _ => Some(decoded),
        }
    }

    /// Deletes a row and removes it from the indexes.
    fn remove(&self, state: &mut State, key: &RowKey) -> bool {
        let removed = state.rows.remove(&self.flaw().row_key(key));
        if let Some(kept) = &removed {
            state.unindex(self.flaw(), kept);
        }
        removed.is_some()
    }
}

impl Store for NaiveStore {
    const NAME: &'static str = "naive";

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        let flaw = self.flaw();
        let mut state = self.data.state().await;
        let old = state.rows.get(&flaw.row_key(put.key)).cloned();
        let is_done = old.as_ref().and_then(Kept::version) == Some(put.version);
        if put.condition != Condition::Always && is_done {
            return Ok(PutOutcome::Written);
        }
        if let Some(old) = old.as_ref().filter(|_| flaw == Flaw::ChangesBeforeRefusing) {
            state.unindex(flaw, old);
        }
        if let Some(refusal) = state.refusal(flaw, &put) {
            return Ok(refusal);
        }
        state = self.data.gap(Flaw::ChecksBeforeWriting, state).await;
        if flaw == Flaw::ReindexesInTwoSteps {
            old.iter().for_each(|old| state.unindex(flaw, old));
            state = self.data.gap(flaw, state).await;
        }
        let old = state.rows.get(&flaw.row_key(put.key)).cloned();
        if let Some(old) = old.filter(|_| flaw != Flaw::TrustsTheOldUsersIndex) {
            state.unindex(flaw, &old);
        }
        state.write(flaw, &put);
        state = self.data.gap(Flaw::StoresInTwoSteps, state).await;
        state.index(flaw, &put);
        if flaw == Flaw::WritesTwice {
            state = self.data.gap(flaw, state).await;
            self.remove(&mut state, put.key);
            state.write(flaw, &put);
            state.index(flaw, &put);
        }
        self.cache.lock().unwrap().remove(put.key);
        Ok(PutOutcome::Written)
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let mut state = self.data.state().await;
        if self.flaw() != Flaw::ReadsFromACache {
            return Ok(self.read(&mut state, key));
        }
        let mut cache = self.cache.lock().unwrap();
        let cached = cache.entry(key.clone());
        Ok(cached.or_insert_with(|| self.read(&mut state, key)).clone())
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let mut state = self.data.state().await;
        let mut rows = BTreeMap::new();
        let index = state.sessions.get(session).cloned().unwrap_or_default();
        for key in index.members {
            match self.read(&mut state, &key) {
                Some(Err(Unreadable::Damaged(_))) if self.flaw() == Flaw::FailsForOneRow => {
                    return Err(Error::unavailable("one row"));
                }
                Some(decoded) => _ = rows.insert(key.provider.clone(), decoded),
                None => {}
            }
        }
        Ok(rows)
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let flaw = self.flaw();
        let mut state = self.data.state().await;
        let Some(kept) = state.rows.get(&flaw.row_key(key)).cloned() else {
            return Ok(DeleteOutcome::Absent);
        };
        let version = version.filter(|_| flaw != Flaw::DeletesAnyVersion);
        if version.is_some() && kept.version() != version {
            return Ok(DeleteOutcome::VersionMismatch);
        }
        if flaw == Flaw::UnindexesBeforeDeleting {
            state.unindex(flaw, &kept);
            state = self.data.gap(flaw, state).await;
        }
        state.rows.remove(&flaw.row_key(key));
        state = self.data.gap(Flaw::DeletesInTwoSteps, state).await;
        state.unindex(flaw, &kept);
        state = self.data.gap(Flaw::DeletesTwice, state).await;
        if flaw == Flaw::DeletesTwice {
            self.remove(&mut state, key);
        }
        self.cache.lock().unwrap().remove(key);
        Ok(DeleteOutcome::Deleted)
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let mut state = self.data.state().await;
        let index = state.sessions.get(session).cloned().unwrap_or_default();
        let spared = usize::from(self.flaw() == Flaw::LeavesOneOfASession);
        let keys = index.members.iter().skip(spared);
        Ok(keys
            .map(|key| u64::from(self.remove(&mut state, key)))
            .sum())
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        let flaw = self.flaw();
        let mut state = self.data.state().await;
        let index = state
            .users
            .get(&flaw.user_key(user))
            .cloned()
            .unwrap_or_default();
        let most = if flaw == Flaw::DeletesOnePage {
            100
        } else {
            usize::MAX
        };
        state = self.data.gap(Flaw::DeletesUnseen, state).await;
        let mut rows = 0;
        for key in index.members.iter().take(most) {
            let kept = state.rows.get(&flaw.row_key(key));
            let owned = kept.is_some_and(|kept| {
                kept.owner.as_ref().map(|owner| flaw.user_key(owner)) == Some(flaw.user_key(user))
            });
            let unseen = matches!(flaw, Flaw::DeletesUnseen | Flaw::TrustsTheOldUsersIndex);
            if owned || unseen {
                rows += u64::from(self.remove(&mut state, key));
            }
        }
        Ok(DeletedRows {
            count: rows,
            ..DeletedRows::default()
        })
    }

    /// Lists the rows in the order of hashes. A position is the hash of the last row.
    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        let state = self.data.state().await;
        let Some(index) = state.users.get(&self.flaw().user_key(user)) else {
            return Ok(UserRowKeys::default());
        };
        let hashed = |key: &RowKey| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish().to_be_bytes().to_vec()
        };
        let mut keys: Vec<_> = index.members.iter().cloned().collect();
        keys.sort_by_key(hashed);
        if let Some(position) = position {
            keys.retain(|key| *hashed(key) > *position.as_bytes());
        }
        let more = keys.len() > at_most;
        keys.truncate(at_most);
        let next = keys
            .last()
            .filter(|_| more)
            .map(|key| Position::new(hashed(key)));
        Ok(UserRowKeys { keys, next })
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let mut state = self.data.state().await;
        Ok(keys.iter().map(|key| self.read(&mut state, key)).collect())
    }
}
