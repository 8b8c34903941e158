//! A store in front of another one that stops at a chosen step, as a process does that dies there.

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use token_broker::{
    error::{KeyMissing, Unreadable},
    store::{
        Change, Decoded, DeleteOutcome, DeletedRows, Error, Position, Put, PutOutcome, Records,
        Seen, Store, UserRowKeys,
    },
    types::{AttemptId, KeyId, ProviderName, Row, RowKey, SessionId, StoredRow, UserId, Version},
};
use tokio::sync::watch;

/// A step at the store's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The look of this number, from 0 on.
    Look(usize),
    /// The change of this number, from 0 on. Renewals of a lease aren't counted.
    Change(usize),
}

/// What happens at a step.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The process stops before the step.
    StopsBefore,
    /// The process stops after the step.
    StopsAfter,
    /// The step isn't done, and the store says that it can't be reached.
    Unavailable,
    /// The step is done, and its answer is lost.
    AnswerLost,
    /// The step isn't done, and its answer is lost.
    RequestLost,
    /// The step is done, and not on enough replicas.
    NotDurable,
}

type Fates = Box<dyn Fn(Step) -> Option<Fate> + Send>;

#[derive(Default)]
struct Shared {
    fates: Mutex<Option<Fates>>,
    looks: AtomicUsize,
    changes: AtomicUsize,
    stopped: watch::Sender<bool>,
    is_down: AtomicBool,
    written: Mutex<HashMap<RowKey, Instant>>,
    refuses_rows: AtomicBool,
    is_damaged: AtomicBool,
    lacks_key: AtomicBool,
}

/// The store of one process.
#[derive(Clone)]
pub struct Failpoints<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Failpoints<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            shared: Arc::default(),
        }
    }

    /// Says what happens at each step from now on.
    pub fn fail(&self, fates: impl Fn(Step) -> Option<Fate> + Send + 'static) {
        *self.shared.fates.lock().unwrap() = Some(Box::new(fates));
    }

    /// Returns when this process last knew that it had written a row together with its record.
    pub fn written(&self, key: &RowKey) -> Option<Instant> {
        self.shared.written.lock().unwrap().get(key).copied()
    }

    /// Says whether the store can't be asked for anything.
    pub fn down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Says whether changes that have a row fail. Those of the record alone don't.
    pub fn refuse_rows(&self, refuses: bool) {
        self.shared.refuses_rows.store(refuses, Ordering::SeqCst);
    }

    /// Says whether rows can't be read together with their records.
    pub fn damage(&self, is_damaged: bool) {
        self.shared.is_damaged.store(is_damaged, Ordering::SeqCst);
    }

    /// Says whether rows are sealed under a key that this process lacks.
    pub fn lack_key(&self, lacks_key: bool) {
        self.shared.lacks_key.store(lacks_key, Ordering::SeqCst);
    }

    fn opened(&self, decoded: Decoded) -> Decoded {
        let shown = decoded?;
        if !self.shared.lacks_key.load(Ordering::SeqCst) {
            return Ok(shown);
        }
        let shown = StoredRow {
            row: Row {
                access_token: None,
                refresh_token: None,
                id_token: None,
                ..shown.row
            },
            ..shown
        };
        let key = KeyId::parse("another.0123456789abcdef").unwrap();
        let missing = KeyMissing { key, shown };
        Err(Unreadable::KeyMissing(Box::new(missing)))
    }

    /// Waits until the process has stopped at a step.
    pub async fn stopped(&self) {
        let mut stopped = self.shared.stopped.subscribe();
        stopped.wait_for(|&stopped| stopped).await.unwrap();
    }

    async fn at<T>(
        &self,
        step: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if self.shared.is_down.load(Ordering::SeqCst) {
            return Err(down());
        }
        let fate = self
            .shared
            .fates
            .lock()
            .unwrap()
            .as_ref()
            .and_then(|fates| fates(step));
        let Some(fate) = fate else {
            return work.await;
        };
        let lost = || Error::Unknown("the test lost the answer".to_owned());
        match fate {
            Fate::StopsBefore => self.stop().await,
            Fate::StopsAfter => {
                work.await?;
                self.stop().await
            }
            Fate::Unavailable => Err(Error::unavailable("the test says so")),
            Fate::AnswerLost => {
                work.await?;
                Err(lost())
            }
            Fate::RequestLost => Err(lost()),
            Fate::NotDurable => {
                work.await?;
                Err(Error::NotDurable("the test says so".to_owned()))
            }
        }
    }

    async fn stop(&self) -> ! {
        self.shared.stopped.send_replace(true);
        pending().await
    }
}

impl<S: Records> Records for Failpoints<S> {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        let number = self.shared.looks.fetch_add(1, Ordering::SeqCst);
        let mut seen = self.at(Step::Look(number), self.inner.look(key)).await?;
        if self.shared.is_damaged.load(Ordering::SeqCst) {
            seen.row = Some(Err(Unreadable::damaged("the test says so")));
        }
        seen.row = seen.row.map(|row| self.opened(row));
        Ok(seen)
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        // Who waits for a slow provider renews its lease. That is no step.
        let is_taken = self.shared.changes.load(Ordering::SeqCst) > 0;
        if is_taken && change.row.is_none() && change.ends.is_none() {
            return match self.shared.is_down.load(Ordering::SeqCst) {
                true => Err(down()),
                false => self.inner.change(key, seen, change).await,
            };
        }
        let number = self.shared.changes.fetch_add(1, Ordering::SeqCst);
        if change.row.is_some() && self.shared.refuses_rows.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the test says so"));
        }
        let changing = async {
            let is_written = self.inner.change(key, seen, change).await?;
            if is_written && change.row.is_some() {
                let mut written = self.shared.written.lock().unwrap();
                written.insert(key.clone(), Instant::now());
            }
            Ok(is_written)
        };
        self.at(Step::Change(number), changing).await
    }

    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.inner.ended(attempt)
    }
}

impl<S: Store> Store for Failpoints<S> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.inner.put(put).await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        if self.shared.is_down.load(Ordering::SeqCst) {
            return Err(down());
        }
        let row = self.inner.get(key).await?;
        Ok(row.map(|row| self.opened(row)))
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        if self.shared.is_down.load(Ordering::SeqCst) {
            return Err(down());
        }
        let rows = self.inner.get_session(session).await?.into_iter();
        Ok(rows
            .map(|(provider, row)| (provider, self.opened(row)))
            .collect())
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

fn down() -> Error {
    Error::unavailable("the test says so")
}
