//! How soon those who wait learn that a refresh has ended (R11).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rotating_provider::{Fault, RotatingProvider, Rules},
};
use token_broker::{
    store::{
        Change, Decoded, DeleteOutcome, DeletedRows, Error, Position, Put, PutOutcome, Records,
        Seen, Store, UserRowKeys, redis::RedisStore,
    },
    tokens::Wanted,
    types::{AttemptId, ProviderName, RowKey, SessionId, UserId, Version},
};

use crate::brokers::{Process, expired, key, options};

/// Brokers on Redis poll so often. Who learns of an end sooner, was told.
const POLL: Duration = Duration::from_millis(500);

/// A store that notes when the new tokens of each row were written.
#[derive(Clone)]
struct Timed {
    inner: RedisStore,
    written: Arc<Mutex<HashMap<RowKey, Instant>>>,
}

impl Records for Timed {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        self.inner.look(key).await
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        let is_written = self.inner.change(key, seen, change).await?;
        if is_written && change.row.is_some() {
            self.written
                .lock()
                .unwrap()
                .insert(key.clone(), Instant::now());
        }
        Ok(is_written)
    }

    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.inner.ended(attempt)
    }
}

impl Store for Timed {
    const NAME: &'static str = "redis";

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.inner.put(put).await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        self.inner.get(key).await
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<std::collections::BTreeMap<ProviderName, Decoded>, Error> {
        self.inner.get_session(session).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        self.inner.get_many(keys).await
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_on_another_broker_is_told_of_the_end() {
    const ROWS: usize = 100;
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|_| Fault {
        after: Duration::from_millis(50),
        ..Fault::default()
    });
    let tenant = RedisTenant::on(RedisServer::shared());
    let written = Arc::<Mutex<HashMap<RowKey, Instant>>>::default();
    let brokers: Vec<_> = (0..3)
        .map(|_| {
            let store = Timed {
                inner: tenant.store(),
                written: Arc::clone(&written),
            };
            Process::start(store, options(&provider))
        })
        .collect();
    let mut late: Vec<Duration> = Vec::new();
    for row in 0..ROWS {
        let key = key(&format!("s{row}"));
        brokers[0]
            .put(&key, expired(&provider.log_in()))
            .await
            .unwrap();
        let calls: Vec<_> = (0..12)
            .map(|caller| {
                let call = brokers[caller % 3].get(&key, Wanted::default());
                tokio::spawn(async move {
                    call.await.unwrap();
                    Instant::now()
                })
            })
            .collect();
        let mut got = Vec::new();
        for call in calls {
            got.push(call.await.unwrap());
        }
        // Some know before the broker that wrote has its answer.
        let written = written.lock().unwrap()[&key];
        late.extend(
            got.into_iter()
                .map(|got| got.saturating_duration_since(written)),
        );
    }
    assert_eq!(provider.tally().requests, ROWS);
    late.sort();
    let at = |percent: usize| late[late.len() * percent / 100];
    println!("after the write: p50 {:?}, p99 {:?}", at(50), at(99));
    assert!(at(95) < POLL / 2, "{:?}", at(95));
}
