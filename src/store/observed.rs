//! A decorator that counts the calls of a store and measures how long they take.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Change, Decoded, DeleteOutcome, DeletedIdentities, DeletedRows, Error, Health, Identities,
    Position, Put, PutOutcome, Records, Seen, Store, UserRowKeys,
};
use crate::types::{AttemptId, ProviderName, RowKey, SessionId, UserId, Version};

/// A store that reports its calls to an [`Observer`].
#[derive(Debug, Default)]
pub struct Observed<S, O = Arc<Figures>> {
    inner: S,
    observer: O,
}

/// A method of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the methods of the traits")]
pub enum Operation {
    Put,
    Get,
    GetSession,
    GetMany,
    UserRows,
    Delete,
    DeleteSession,
    DeleteUserRows,
    Look,
    Change,
    DeleteUser,
    Ready,
}

/// A listener for the calls of a store.
pub trait Observer: Send + Sync + 'static {
    /// Takes note that a call begins.
    fn begun(&self, _operation: Operation) {}

    /// Takes note that a call ended after `took`. `failure` is the error if it failed. The caller gets the
    /// answer when this future is done. A call that is dropped before it ends isn't reported here.
    fn done(
        &self,
        operation: Operation,
        failure: Option<&Error>,
        took: Duration,
    ) -> impl Future<Output = ()> + Send;
}

impl<S, O> Observed<S, O> {
    /// Returns a store that calls `inner` and reports to `observer`.
    pub fn new(inner: S, observer: O) -> Self {
        Self { inner, observer }
    }

    /// Returns the observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }
}

impl<S: Send + Sync, O: Observer> Observed<S, O> {
    async fn observe<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        self.observer.begun(operation);
        let outcome = call.await;
        self.observer
            .done(operation, outcome.as_ref().err(), started.elapsed())
            .await;
        outcome
    }
}

impl<S: Store, O: Observer> Store for Observed<S, O> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.observe(Operation::Put, self.inner.put(put)).await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        self.observe(Operation::Get, self.inner.get(key)).await
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let call = self.inner.get_session(session);
        self.observe(Operation::GetSession, call).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let call = self.inner.get_many(keys);
        self.observe(Operation::GetMany, call).await
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        let call = self.inner.user_rows(user, position, at_most);
        self.observe(Operation::UserRows, call).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let call = self.inner.delete(key, version);
        self.observe(Operation::Delete, call).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let call = self.inner.delete_session(session);
        self.observe(Operation::DeleteSession, call).await
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        let call = self.inner.delete_user_rows(user);
        self.observe(Operation::DeleteUserRows, call).await
    }
}

impl<S: Records, O: Observer> Records for Observed<S, O> {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        self.observe(Operation::Look, self.inner.look(key)).await
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        let call = self.inner.change(key, seen, change);
        self.observe(Operation::Change, call).await
    }

    /// Waiting is no work of the store, so it isn't reported.
    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.inner.ended(attempt)
    }
}

impl<S: Identities, O: Observer> Identities for Observed<S, O> {
    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        let call = self.inner.delete_user(user);
        self.observe(Operation::DeleteUser, call).await
    }
}

impl<S: Health, O: Observer> Health for Observed<S, O> {
    async fn ready(&self) -> Result<(), Error> {
        self.observe(Operation::Ready, self.inner.ready()).await
    }

    /// Reports one call, to the first observer. It failed if no backend is ready.
    async fn ready_each(all: &[&Self]) -> Vec<Result<(), Error>> {
        let Some(first) = all.first() else {
            return Vec::new();
        };
        let backends: Vec<_> = all.iter().map(|observed| &observed.inner).collect();
        let mut answers = Vec::new();
        let asked = async {
            answers = S::ready_each(&backends).await;
            let works = answers.iter().any(Result::is_ok);
            let failure = answers.iter().find_map(|answer| answer.clone().err());
            failure.filter(|_| !works).map_or(Ok(()), Err)
        };
        // What it comes to is in the answers, too.
        _ = first.observe(Operation::Ready, asked).await;
        answers
    }
}

impl<O: Observer> Observer for Arc<O> {
    fn begun(&self, operation: Operation) {
        O::begun(self, operation);
    }

    fn done(
        &self,
        operation: Operation,
        failure: Option<&Error>,
        took: Duration,
    ) -> impl Future<Output = ()> + Send {
        O::done(self, operation, failure, took)
    }
}

/// An observer that keeps counts and times for each [`Operation`].
#[derive(Debug, Default)]
pub struct Figures([Counters; Operation::ALL.len()]);

#[derive(Debug, Default)]
struct Counters {
    begun: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
}

/// The counts and times of one [`Operation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many calls ended.
    pub ended: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many calls are running, or were dropped before they ended.
    pub open: u64,
    /// The total time of the calls that ended.
    pub took: Duration,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 12] = [
        Self::Put,
        Self::Get,
        Self::GetSession,
        Self::GetMany,
        Self::UserRows,
        Self::Delete,
        Self::DeleteSession,
        Self::DeleteUserRows,
        Self::Look,
        Self::Change,
        Self::DeleteUser,
        Self::Ready,
    ];
}

impl Figures {
    /// Returns the figures of `operation` until now.
    #[must_use]
    pub fn tally(&self, operation: Operation) -> Tally {
        let counters = self.counters(operation);
        let ended = counters.ended.load(Ordering::Relaxed);
        Tally {
            ended,
            failed: counters.failed.load(Ordering::Relaxed),
            open: counters.begun.load(Ordering::Relaxed).saturating_sub(ended),
            took: Duration::from_micros(counters.micros.load(Ordering::Relaxed)),
        }
    }

    /// Returns the sum of the figures of all operations until now.
    #[must_use]
    pub fn total(&self) -> Tally {
        let tallies = Operation::ALL.map(|operation| self.tally(operation));
        tallies
            .into_iter()
            .fold(Tally::default(), |sum, tally| Tally {
                ended: sum.ended + tally.ended,
                failed: sum.failed + tally.failed,
                open: sum.open + tally.open,
                took: sum.took + tally.took,
            })
    }

    fn counters(&self, operation: Operation) -> &Counters {
        &self.0[operation as usize]
    }
}

impl Observer for Figures {
    fn begun(&self, operation: Operation) {
        self.counters(operation)
            .begun
            .fetch_add(1, Ordering::Relaxed);
    }

    async fn done(&self, operation: Operation, failure: Option<&Error>, took: Duration) {
        let counters = self.counters(operation);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counters.micros.fetch_add(micros, Ordering::Relaxed);
        if failure.is_some() {
            counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        counters.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    struct Failing;

    impl Health for Failing {
        async fn ready(&self) -> Result<(), Error> {
            Err(Error::unavailable("down"))
        }
    }

    #[tokio::test]
    async fn calls_are_counted_by_operation_and_outcome() {
        let store: Observed<_, Figures> = Observed::new(MemoryStore::new(), Figures::default());
        let session = SessionId::new("s").unwrap();
        for _ in 0..3 {
            store.get_session(&session).await.unwrap();
        }
        drop(store.user_rows(&UserId::new("u").unwrap(), None, 1));
        let figures = store.observer();
        assert_eq!(figures.tally(Operation::GetSession).ended, 3);
        assert_eq!(figures.tally(Operation::GetSession).failed, 0);
        assert_eq!(figures.tally(Operation::UserRows), Tally::default());
        assert_eq!(figures.total().ended, 3);

        let failing = Observed::new(Failing, Figures::default());
        failing.ready().await.unwrap_err();
        let tally = failing.observer().tally(Operation::Ready);
        assert_eq!((tally.ended, tally.failed, tally.open), (1, 1, 0));
    }

    #[test]
    fn each_operation_has_numbers_of_its_own() {
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at);
        }
    }
}
