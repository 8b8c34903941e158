//! A decorator that counts the calls of a store and measures how long they take.

mod authorizations;
mod users;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use super::{
    Change, Decoded, DeleteOutcome, DeletedRows, Error, Health, LinkFigures, Position, Put,
    PutOutcome, Records, Seen, Store, UserRowKeys,
};
use crate::{
    meter::{Count, Distribution, Gauge, Times},
    traces::{self, Attribute, Kind, Span},
    types::{AttemptId, ProviderName, RowKey, SessionId, UserId, Version, labels},
};

/// A store that reports its calls to an [`Observer`].
#[derive(Debug, Default)]
pub struct Observed<S, O = Figures> {
    inner: S,
    observer: O,
}

labels! {
    /// A method of a store.
    #[expect(missing_docs, reason = "named after the methods of the traits")]
    pub enum Operation {
        Put = "put",
        Get = "get",
        GetSession = "get_session",
        GetMany = "get_many",
        UserRows = "user_rows",
        Delete = "delete",
        DeleteSession = "delete_session",
        DeleteUserRows = "delete_user_rows",
        Look = "look",
        Change = "change",
        DeleteUser = "delete_user",
        Ready = "ready",
        Resolve = "resolve",
        User = "user",
        Link = "link",
        LeadsTo = "leads_to",
        Unlink = "unlink",
        Identities = "identities",
        Create = "create",
        Pending = "pending",
        Take = "take",
    }
}

/// A listener for the calls of a store.
pub trait Observer: Send + Sync + 'static {
    /// Takes note that a call begins. What this returns is dropped when the call ends, or is dropped before it ends.
    fn begun(&self, _operation: Operation) -> impl Send {}

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
    /// Takes the call by its place. As a value it would be kept twice, here as an argument and where it is awaited.
    async fn observe<T>(
        &self,
        operation: Operation,
        call: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let _running = self.observer.begun(operation);
        let span = traces::child(operation.name(), Kind::Client);
        let outcome = traces::during(span.as_ref(), call).await;
        if let Some(span) = span {
            tell(&span, operation, outcome.as_ref().err());
        }
        self.observer
            .done(operation, outcome.as_ref().err(), started.elapsed())
            .await;
        outcome
    }
}

/// Has the span of a call say what was done, and how it ended.
fn tell(span: &Span, operation: Operation, failure: Option<&Error>) {
    span.note(Attribute::Operation(operation.name()));
    if let Some(failure) = failure {
        span.note(Attribute::Failure(Failure::of(failure).name()));
        span.fail();
    }
}

impl<S: Store, O: Observer> Store for Observed<S, O> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.observe(Operation::Put, pin!(self.inner.put(put)))
            .await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        self.observe(Operation::Get, pin!(self.inner.get(key)))
            .await
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let call = pin!(self.inner.get_session(session));
        self.observe(Operation::GetSession, call).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let call = pin!(self.inner.get_many(keys));
        self.observe(Operation::GetMany, call).await
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        let call = pin!(self.inner.user_rows(user, position, at_most));
        self.observe(Operation::UserRows, call).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let call = pin!(self.inner.delete(key, version));
        self.observe(Operation::Delete, call).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let call = pin!(self.inner.delete_session(session));
        self.observe(Operation::DeleteSession, call).await
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        let call = pin!(self.inner.delete_user_rows(user));
        self.observe(Operation::DeleteUserRows, call).await
    }
}

impl<S: Records, O: Observer> Records for Observed<S, O> {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        self.observe(Operation::Look, pin!(self.inner.look(key)))
            .await
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        let call = pin!(self.inner.change(key, seen, change));
        self.observe(Operation::Change, call).await
    }

    /// Waiting is no work of the store, so it isn't reported.
    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.inner.ended(attempt)
    }
}

impl<S: Health, O: Observer> Health for Observed<S, O> {
    async fn ready(&self) -> Result<(), Error> {
        self.observe(Operation::Ready, pin!(self.inner.ready()))
            .await
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
        _ = first.observe(Operation::Ready, pin!(asked)).await;
        answers
    }

    fn link(&self) -> Option<LinkFigures> {
        self.inner.link()
    }
}

/// An observer that keeps counts and times for each [`Operation`].
#[derive(Debug, Default)]
pub struct Figures([Counters; Operation::ALL.len()]);

#[derive(Debug, Default)]
struct Counters {
    open: Gauge,
    took: Times,
    /// In the order of [`Failure::ALL`].
    failed: [Count; Failure::ALL.len()],
}

labels! {
    /// A way in which a call fails, which tells what became of a write.
    #[expect(missing_docs, reason = "named after the variants of the error")]
    pub enum Failure {
        Unavailable = "unavailable",
        Unknown = "unknown",
        NotDurable = "not_durable",
        WrongType = "wrong_type",
        RecordUnreadable = "record_unreadable",
    }
}

/// The counts and times of one [`Operation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many calls ended.
    pub ended: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many calls are running.
    pub open: u64,
    /// The total time of the calls that ended.
    pub took: Duration,
}

impl Failure {
    fn of(error: &Error) -> Self {
        match error {
            Error::Unavailable(_) => Self::Unavailable,
            Error::Unknown(_) => Self::Unknown,
            Error::NotDurable(_) => Self::NotDurable,
            Error::WrongType => Self::WrongType,
            Error::RecordUnreadable => Self::RecordUnreadable,
        }
    }
}

impl Figures {
    /// Returns the figures of `operation` until now.
    #[must_use]
    pub fn tally(&self, operation: Operation) -> Tally {
        let counters = self.counters(operation);
        let distribution = counters.took.get();
        Tally {
            ended: distribution.count(),
            failed: counters.failed.iter().map(Count::get).sum(),
            open: counters.open.get(),
            took: distribution.took,
        }
    }

    /// Returns how long the calls of `operation` took that ended, also those that failed.
    #[must_use]
    pub fn took(&self, operation: Operation) -> Distribution {
        self.counters(operation).took.get()
    }

    /// Returns how many calls of `operation` failed in this way.
    #[must_use]
    pub fn failed(&self, operation: Operation, failure: Failure) -> u64 {
        self.counters(operation).failed[failure as usize].get()
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
    fn begun(&self, operation: Operation) -> impl Send {
        self.counters(operation).open.up()
    }

    async fn done(&self, operation: Operation, failure: Option<&Error>, took: Duration) {
        let counters = self.counters(operation);
        if let Some(failure) = failure {
            counters.failed[Failure::of(failure) as usize].up();
        }
        counters.took.note(took);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn an_observed_call_is_kept_once() {
        struct Large;
        impl Health for Large {
            async fn ready(&self) -> Result<(), Error> {
                let kept = [0_u8; 4096];
                tokio::task::yield_now().await;
                std::hint::black_box(&kept);
                Ok(())
            }
        }
        let large = size_of_val(&Large.ready());
        let observed = Observed::new(Large, Figures::default());
        let size = size_of_val(&observed.ready());
        assert!(
            large >= 4096 && size < large + 1024,
            "{size} bytes for {large}"
        );
        // The control: a call that is an argument is kept twice.
        async fn by_value(call: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
            call.await
        }
        assert!(size_of_val(&by_value(Large.ready())) >= 2 * large);
    }

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
        let down = failing
            .observer()
            .failed(Operation::Ready, Failure::Unavailable);
        assert_eq!(down, 1);
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_runs_no_longer() {
        struct Silent;
        impl Health for Silent {
            async fn ready(&self) -> Result<(), Error> {
                std::future::pending().await
            }
        }
        let silent = Observed::new(Silent, Figures::default());
        let open = || silent.observer().tally(Operation::Ready).open;
        let mut call = Box::pin(silent.ready());
        assert!((&mut call).now_or_never().is_none());
        assert_eq!(open(), 1);
        drop(call);
        assert_eq!(open(), 0);
    }

    #[test]
    fn each_failure_has_numbers_of_its_own() {
        for (at, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, at);
        }
    }

    #[test]
    fn each_operation_has_numbers_of_its_own() {
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at);
        }
    }
}
