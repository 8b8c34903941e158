//! The backend that needs no other software. It keeps everything in this process and loses it when the
//! process ends.
//!
//! `kept.rs` has a row as it lies in memory, `sessions.rs` the rows by session, `records.rs` what is known of
//! their refresh tokens, `state.rs` all of that and the indexes, `users.rs` users and their identities,
//! `authorizations.rs` pending authorizations.
//! This file has the lock, and how long it is held.

mod authorizations;
mod kept;
mod records;
mod sessions;
mod state;
mod users;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Duration, Instant},
};

use self::{
    authorizations::Pending,
    kept::Kept,
    records::Clock,
    state::{Removed, State},
    users::Users,
};
use super::{
    Decoded, DeleteOutcome, DeletedRows, Error, Health, Position, Put, PutOutcome, Store,
    UserRowKeys, ends::Ends,
};
use crate::types::{ProviderName, RowKey, SessionId, UserId, Version, lock};

/// How many rows are taken out at once where there may be any number of them. That takes less than a millisecond.
const AT_ONCE: usize = 64;
/// How many expired rows a call takes out before its own work.
const BY_THE_WAY: usize = 8;

/// A store that keeps rows and records in memory.
///
/// Each call is one atomic step, because it holds one lock for a few map operations and never across an
/// await. Rows are copied before and after it, and wiped after it. Only [`Store::delete_user_rows`] takes several
/// steps. Other tasks run between them.
#[derive(Debug, Default)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// They never change together with rows.
    users: Mutex<Users>,
    pending: Mutex<Pending>,
    /// Whether a task takes out expired rows.
    sweeping: AtomicBool,
    clock: Clock,
    ends: Ends,
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Does one atomic step. What it returns is dropped without the lock.
    fn step<T>(&self, step: impl FnOnce(&mut State, Instant) -> T) -> T {
        let (answer, (expired, more)) = self.0.step(|state, now| {
            let expired = state.take_expired(now, BY_THE_WAY);
            (step(state, now), expired)
        });
        drop(expired);
        if more {
            self.sweep();
        }
        answer
    }

    /// Takes out the expired rows that are left in a task of its own.
    fn sweep(&self) {
        // Without a runtime the next calls do it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !self.0.sweeping.swap(true, Ordering::AcqRel) {
            let sweeper = Sweeper(Arc::clone(&self.0));
            runtime.spawn(sweeper.run());
        }
    }
}

impl Shared {
    fn users(&self) -> MutexGuard<'_, Users> {
        // What follows from a panic is the same as for rows.
        lock(&self.users)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }

    fn step<T>(&self, step: impl FnOnce(&mut State, Instant) -> T) -> T {
        // A poisoned state is still consistent: each change to the maps is complete before anything that
        // could panic.
        let mut state = lock(&self.state);
        step(&mut state, Instant::now())
    }
}

/// Whoever takes out expired rows. There is at most one.
struct Sweeper(Arc<Shared>);

impl Sweeper {
    async fn run(self) {
        let mut more = true;
        while more {
            yield_now().await;
            let expired;
            (expired, more) = self.0.step(|state, now| state.take_expired(now, AT_ONCE));
            drop(expired);
        }
    }
}

/// The runtime may end before the task does.
impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.sweeping.store(false, Ordering::Release);
    }
}

/// Returns how many rows could still be read.
fn count(rows: &Removed, now: Instant) -> u64 {
    let live = rows.iter().map(|kept| u64::from(kept.is_live(now)));
    live.sum()
}

impl Store for MemoryStore {
    const NAME: &'static str = "memory";

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        let expires = |span: Duration| Instant::now().checked_add(span);
        let expires = put.keep_for.and_then(expires);
        let kept = Arc::new(Kept::new(put.key, put.row, put.version, expires));
        let (outcome, _replaced) = self.step(|state, now| state.put(&put, kept, now));
        Ok(outcome)
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let kept = self.step(|state, now| state.row(key, now).cloned());
        Ok(kept.map(|kept| Ok(kept.stored())))
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let rows: Vec<_> = self.step(|state, now| state.session(session, now).cloned().collect());
        let named = |kept: Arc<Kept>| Some((kept.provider_name()?, Ok(kept.stored())));
        Ok(rows.into_iter().filter_map(named).collect())
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let (outcome, _removed) = self.step(|state, now| {
            let Some(kept) = state.row(key, now).cloned() else {
                return (DeleteOutcome::Absent, None);
            };
            if version.is_some_and(|version| version != kept.version()) {
                return (DeleteOutcome::VersionMismatch, None);
            }
            state.remove(&kept, now);
            (DeleteOutcome::Deleted, Some(kept))
        });
        Ok(outcome)
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let (count, _removed) = self.step(|state, now| {
            let removed = state.remove_session(session, now);
            (count(&removed, now), removed)
        });
        Ok(count)
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        let mut deleted = DeletedRows::default();
        // A row that is stored from now on may stay. Otherwise a user who logs in all the time would keep the call here.
        let last = self.step(|state, _| state.last_number());
        loop {
            let (count, removed) = self.step(|state, now| {
                let removed = state.remove_user_rows(user, last, AT_ONCE, now);
                (count(&removed, now), removed)
            });
            deleted.count += count;
            if removed.len() < AT_ONCE {
                return Ok(deleted);
            }
            drop(removed);
            yield_now().await;
        }
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        let (rows, next) = self.step(|state, _| state.user_rows(user, position, at_most));
        let keys = rows.iter().filter_map(|kept| kept.key()).collect();
        Ok(UserRowKeys { keys, next })
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let rows: Vec<_> = self.step(|state, now| {
            let row = |key| state.row(key, now).cloned();
            keys.iter().map(row).collect()
        });
        let decoded = |kept: Option<Arc<Kept>>| kept.map(|kept| Ok(kept.stored()));
        Ok(rows.into_iter().map(decoded).collect())
    }
}

impl Health for MemoryStore {
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::Condition, types::Row};

    fn key(session: usize) -> RowKey {
        RowKey {
            session: SessionId::new(session.to_string()).unwrap(),
            provider: ProviderName::new("p").unwrap(),
        }
    }

    async fn put(store: &MemoryStore, session: usize, user: &UserId, keep_for: Option<Duration>) {
        let row = Row {
            user_id: Some(user.clone()),
            ..Row::default()
        };
        let put = Put {
            key: &key(session),
            row: &row,
            version: Version::random(),
            keep_for,
            condition: Condition::Always,
            source: None,
            max_providers: 1,
        };
        assert_eq!(store.put(put).await.unwrap(), PutOutcome::Written);
    }

    fn user() -> UserId {
        UserId::new("u").unwrap()
    }

    /// On a single thread another task runs only while the call lets it.
    #[tokio::test]
    async fn a_user_of_many_rows_is_deleted_in_steps() {
        const ROWS: usize = 10_000;
        let store = MemoryStore::new();
        for session in 0..ROWS {
            put(&store, session, &user(), None).await;
        }
        let (owner, mut others) = (user(), 0);
        let other = async {
            loop {
                put(&store, ROWS + others, &user(), None).await;
                others += 1;
                yield_now().await;
            }
        };
        let deleted = tokio::select! {
            biased;
            deleted = store.delete_user_rows(&owner) => deleted.unwrap(),
            () = other => unreachable!(),
        };
        assert!(others >= 100, "another task ran {others} times");
        assert_eq!(deleted.count as usize, ROWS);
        for session in 0..ROWS {
            assert_eq!(store.get(&key(session)).await.unwrap(), None);
        }
        // Rows that were stored meanwhile are another login.
        let left = store.user_rows(&user(), None, usize::MAX).await.unwrap();
        assert_eq!(left.keys.len(), others);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_expire_together_are_taken_out_in_steps() {
        const ROWS: usize = 1_000;
        let store = MemoryStore::new();
        for session in 0..ROWS {
            put(&store, session, &user(), Some(Duration::from_secs(1))).await;
        }
        put(&store, ROWS, &user(), None).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        let indexed = async || {
            let rows = store.user_rows(&user(), None, usize::MAX).await.unwrap();
            rows.keys.len()
        };
        // What is left can't be read, is replaced by a new row, and doesn't count.
        assert_eq!(store.get(&key(ROWS - 1)).await.unwrap(), None);
        put(&store, ROWS - 1, &user(), None).await;
        let left = indexed().await;
        assert!(left > 900, "{left} rows left after three calls");
        while indexed().await > 2 {
            yield_now().await;
        }
        let deleted = store.delete_user_rows(&user()).await.unwrap();
        assert_eq!(deleted.count, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_have_expired_do_not_count_as_deleted() {
        let store = MemoryStore::new();
        for session in 0..100 {
            put(&store, session, &user(), Some(Duration::from_secs(1))).await;
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        let deleted = store.delete_user_rows(&user()).await.unwrap();
        assert_eq!(deleted.count, 0);
        let left = store.user_rows(&user(), None, usize::MAX).await.unwrap();
        assert_eq!(left.keys.len(), 0);
    }

    /// Whoever finds expired rows next begins another sweep.
    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_panics_is_not_the_last() {
        let store = MemoryStore::new();
        store.0.sweeping.store(true, Ordering::Release);
        let sweeper = Sweeper(Arc::clone(&store.0));
        let panics = tokio::spawn(async move {
            let _sweeper = sweeper;
            panic!("as the test wants");
        });
        panics.await.unwrap_err();
        for session in 0..1_000 {
            put(&store, session, &user(), Some(Duration::from_secs(1))).await;
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(store.get(&key(0)).await.unwrap(), None);
        let left = || {
            store
                .0
                .step(|state, _| state.user_rows(&user(), None, usize::MAX).0.len())
        };
        for _ in 0..10_000 {
            yield_now().await;
        }
        assert_eq!(left(), 0);
    }
}
