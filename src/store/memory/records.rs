//! What is known about the redemption of refresh tokens, and the clock by which it is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::SystemTime,
};

use tokio::time::Instant;

use super::MemoryStore;
use crate::{
    store::{Change, Error, Held, RECORD_OUTLIVES_ROW, Records, Seen, Stamp},
    types::{AttemptId, Lineage, Record, RowKey, StoreTime},
};

/// The records of all rows, and when they expire. Trees, because a table would be moved in one go as it grows.
#[derive(Debug, Default)]
pub(super) struct KeptRecords {
    records: BTreeMap<Arc<RowKey>, KeptRecord>,
    expirations: BTreeSet<(Instant, Arc<RowKey>)>,
}

#[derive(Debug)]
struct KeptRecord {
    record: Arc<Record>,
    /// The number of the last change.
    number: u64,
    expires: Option<Instant>,
}

impl KeptRecords {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns a record, unless there is none or it has expired.
    pub(super) fn get(&self, key: &RowKey, now: Instant) -> Option<&Arc<Record>> {
        Some(&self.live(key, now)?.record)
    }

    fn live(&self, key: &RowKey, now: Instant) -> Option<&KeptRecord> {
        let kept = self.records.get(key)?;
        kept.expires.is_none_or(|at| at > now).then_some(kept)
    }

    /// Writes a record whose row ends at `row_ends`. `None`: the row never ends.
    fn write(&mut self, key: &RowKey, record: &Record, row_ends: Option<Instant>) {
        let key = match self.records.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::new(key.clone()),
        };
        let kept = KeptRecord {
            record: Arc::new(record.clone()),
            number: Stamp::drawn(),
            expires: None,
        };
        if let Some(replaced) = self.records.insert(Arc::clone(&key), kept)
            && let Some(at) = replaced.expires
        {
            self.expirations.remove(&(at, Arc::clone(&key)));
        }
        self.outlive(&key, row_ends);
    }

    /// Keeps a record, if there is one, until some time after its row ends. `None`: the row never ends.
    pub(super) fn outlive(&mut self, key: &RowKey, row_ends: Option<Instant>) {
        if self.records.is_empty() {
            return;
        }
        let Some((shared, _)) = self.records.get_key_value(key) else {
            return;
        };
        let shared = Arc::clone(shared);
        let expires = row_ends.and_then(|at| at.checked_add(RECORD_OUTLIVES_ROW));
        let Some(kept) = self.records.get_mut(key) else {
            return;
        };
        if let Some(at) = std::mem::replace(&mut kept.expires, expires) {
            self.expirations.remove(&(at, Arc::clone(&shared)));
        }
        if let Some(at) = expires {
            self.expirations.insert((at, shared));
        }
    }

    /// Drops at most `at_most` records that have expired. Returns whether others are left.
    pub(super) fn drop_expired(&mut self, now: Instant, at_most: usize) -> bool {
        let mut dropped = 0;
        while let Some((at, _)) = self.expirations.first()
            && *at <= now
        {
            if dropped == at_most {
                return true;
            }
            dropped += 1;
            if let Some((_, key)) = self.expirations.pop_first() {
                self.records.remove(&key);
            }
        }
        false
    }
}

/// The store's clock. It follows the runtime's, so that both stand still together in a test.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    started_at: StoreTime,
}

impl Default for Clock {
    fn default() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            started: Instant::now(),
            started_at: StoreTime::default().plus(since_epoch.unwrap_or_default()),
        }
    }
}

impl Clock {
    fn at(&self, now: Instant) -> StoreTime {
        let elapsed = now.saturating_duration_since(self.started);
        self.started_at.plus(elapsed)
    }
}

impl Records for MemoryStore {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        let (row, record, at) = self.step(|state, now| {
            let record = state.records.live(key, now);
            let record = record.map(|kept| (Arc::clone(&kept.record), kept.number));
            (state.row(key, now).cloned(), record, self.0.clock.at(now))
        });
        let (record, number) = record.unwrap_or_default();
        let version = row.as_ref().map(|kept| kept.version());
        Ok(Seen {
            in_grace: false,
            row: row.map(|kept| Ok(kept.stored())),
            record: Arc::unwrap_or_clone(record),
            at,
            lineage: Some(Lineage::default()),
            stamp: Stamp {
                row: version.map_or(Held::Nothing, Held::Version),
                record: number,
                ..Stamp::default()
            },
        })
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        let version = match seen.stamp.row {
            Held::Version(version) => Some(version),
            Held::Nothing | Held::Bytes(_) | Held::Other => None,
        };
        if change.row.is_some() && seen.stored().is_none() {
            return Err(Error::unavailable("there is no row to change"));
        }
        let (is_done, _replaced) = self.step(|state, now| {
            let row = state.row(key, now).map(|kept| kept.version());
            let record = state.records.live(key, now).map_or(0, |kept| kept.number);
            // A row that changes and keeps its version does so together with its record.
            if row != version || record != seen.stamp.record {
                return (false, None);
            }
            let replaced = change.row.and_then(|row| state.rewrite(key, row, now));
            let row_ends = match state.row(key, now) {
                None => Some(now),
                Some(kept) => kept.expires(),
            };
            state.records.write(key, change.record, row_ends);
            (true, replaced)
        });
        if is_done && let Some(attempt) = change.ends {
            self.0.ends.tell(attempt);
        }
        Ok(is_done)
    }

    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.0.ends.of(attempt)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        store::{Condition, Put, PutOutcome, Store},
        types::{EntryState, ProviderName, Row, Secret, SessionId, TokenHash, Version},
    };

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(session: usize) -> RowKey {
        RowKey {
            session: SessionId::new(format!("s{session}")).unwrap(),
            provider: ProviderName::new("p").unwrap(),
        }
    }

    async fn put(store: &MemoryStore, key: &RowKey, keep_for: Option<Duration>) -> PutOutcome {
        let row = Row {
            refresh_token: Secret::new("refresh".to_owned()),
            ..Row::default()
        };
        let put = Put {
            key,
            row: &row,
            version: Version::random(),
            keep_for,
            condition: Condition::Always,
            source: None,
            max_providers: 1,
        };
        store.put(put).await.unwrap()
    }

    /// Notes that a refresh token was redeemed.
    async fn redeemed(store: &MemoryStore, key: &RowKey, token: &str) {
        let mut seen = store.look(key).await.unwrap();
        let token = TokenHash::of(&Secret::new(token.to_owned()).unwrap());
        seen.record.entry_mut(token).state = EntryState::Redeemed(None);
        let change = Change {
            record: &seen.record,
            row: None,
            ends: None,
        };
        assert!(store.change(key, &seen, change).await.unwrap());
    }

    async fn is_known(store: &MemoryStore, key: &RowKey) -> bool {
        !store.look(key).await.unwrap().record.entries().is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_goes_ten_minutes_after_its_row() {
        let store = MemoryStore::new();
        put(&store, &key(0), Some(MINUTE)).await;
        redeemed(&store, &key(0), "other").await;
        put(&store, &key(1), None).await;
        redeemed(&store, &key(1), "other").await;
        put(&store, &key(2), None).await;
        redeemed(&store, &key(2), "other").await;
        // The second row ends with another life than it began with, and the third is deleted.
        put(&store, &key(1), Some(MINUTE)).await;
        tokio::time::advance(MINUTE).await;
        store.delete(&key(2), None).await.unwrap();
        // Who meets an expired row doesn't extend the record.
        tokio::time::advance(MINUTE).await;
        store.delete_session(&key(0).session).await.unwrap();
        tokio::time::advance(RECORD_OUTLIVES_ROW - MINUTE - Duration::from_millis(1)).await;
        for session in 0..3 {
            assert!(is_known(&store, &key(session)).await, "{session}");
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        for session in 0..3 {
            assert!(!is_known(&store, &key(session)).await, "{session}");
        }
        let left = store.0.step(|state, _| state.records.records.len());
        assert_eq!(left, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_expire_together_are_dropped_in_steps() {
        let store = MemoryStore::new();
        for session in 0..1_000 {
            redeemed(&store, &key(session), "other").await;
        }
        tokio::time::advance(RECORD_OUTLIVES_ROW).await;
        assert!(!is_known(&store, &key(0)).await);
        let left = || store.0.step(|state, _| state.records.records.len());
        assert!(left() > 900, "{} are left after a call", left());
        while left() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(
            store
                .0
                .step(|state, _| state.records.expirations.is_empty())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_is_the_runtimes() {
        let store = MemoryStore::new();
        let before = store.look(&key(0)).await.unwrap().at;
        tokio::time::advance(MINUTE).await;
        let after = store.look(&key(0)).await.unwrap().at;
        assert_eq!(after.since(before), MINUTE);
    }
}
