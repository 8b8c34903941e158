//! Admission of calls. It limits how many calls are in flight and how many bytes they hold, in the process
//! and on each connection, and refuses all calls before the broker is ready.
//!
//! A call is admitted when its headers have arrived, before its message is read. Its [`Permit`] lasts until
//! the store has answered, and until the answer has left the process or its stream is gone.

mod bound;
mod expected;
mod large_reads;
mod leaving;
mod permit;
mod waiting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Extensions;

use self::{
    bound::{Bound, Taken},
    expected::Expected,
    large_reads::LargeReads,
    leaving::Leaving,
    waiting::Waiting,
};
pub use self::{large_reads::LargeRead, permit::Permit};
use crate::error::Error;

/// How long a call waits for a place among the large reads.
const WAIT_FOR_LARGE_READS: Duration = Duration::from_secs(1);
/// One connection may have one part in so many of the calls in flight...
const PART_OF_CALLS: usize = 8;
/// ...but this many in any case, as far as that is fair.
const CALLS_OF_A_CONNECTION: usize = 100;
/// One call in so many may wait for a provider. Who waits costs next to nothing, but slow providers must leave places for
/// calls that don't need them.
const PART_THAT_WAITS: usize = 2;
/// One place in so many of a connection is for calls that don't wait. Even if all others wait, the connection has fewer than
/// are left in the process, so that these calls are admitted.
const PART_THAT_DOES_NOT_WAIT: usize = 8;
/// One connection may have one part in so many of the bytes in flight.
const PART_OF_BYTES: usize = 4;
/// How many calls of one connection may be in flight to the services beside the broker's own.
const ASIDE: usize = 16;

/// The limits of all calls together.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// How many may be in flight.
    pub calls: usize,
    /// How many bytes their requests and answers may have.
    pub bytes: usize,
    /// How many bytes one call may have in any case.
    pub largest: usize,
}

/// Admits calls. Clones share their state.
#[derive(Clone, Debug)]
pub struct Admission(Arc<All>);

/// What all connections share.
#[derive(Debug)]
struct All {
    limits: CallLimits,
    calls: Arc<Bound>,
    bytes: Arc<Bound>,
    large_reads: LargeReads,
    waiting: Arc<Waiting>,
    migrating: AtomicBool,
}

/// One connection's share of what calls may use.
#[derive(Debug)]
pub struct Share {
    all: Arc<All>,
    calls: Arc<Bound>,
    bytes: Arc<Bound>,
    large_reads: LargeReads,
    waiting: Arc<Waiting>,
    expected: Expected,
    aside: Arc<Bound>,
    leaving: Leaving,
}

/// The places for calls to a service beside the broker's own. They aren't among the calls in flight, and a
/// shutdown doesn't wait for them.
#[derive(Debug)]
pub struct SidePlaces(Arc<Bound>);

/// The place of a call to a service beside the broker's own.
#[derive(Debug)]
pub struct Aside {
    _places: [Taken; 2],
}

impl SidePlaces {
    /// Makes places for `most` calls at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Bound::new(most))
    }
}

impl CallLimits {
    /// Returns how many calls one connection may have in flight. HTTP/2 recommends no fewer than 100.
    #[must_use]
    pub fn calls_of_a_connection(&self) -> usize {
        (self.calls / PART_OF_CALLS).max(CALLS_OF_A_CONNECTION)
    }

    fn bytes_of_a_connection(&self) -> usize {
        (self.bytes / PART_OF_BYTES).max(self.largest)
    }
}

impl Admission {
    /// Makes an admission of calls within `limits`. It refuses all calls as [`Error::Migrating`] until
    /// [`Admission::open`].
    #[must_use]
    pub fn new(limits: CallLimits) -> Self {
        Self(Arc::new(All {
            limits,
            calls: Bound::new(limits.calls),
            bytes: Bound::new(limits.bytes.max(limits.largest)),
            large_reads: LargeReads::of_process(),
            waiting: Waiting::new(limits.calls / PART_THAT_WAITS),
            migrating: AtomicBool::new(true),
        }))
    }

    /// Starts to admit calls.
    pub fn open(&self) {
        self.0.migrating.store(false, Ordering::Release);
    }

    /// Refuses all further calls as [`Error::Migrating`], until [`Admission::open`].
    pub fn close(&self) {
        self.0.migrating.store(true, Ordering::Release);
    }

    /// Whether calls are admitted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.migrating.load(Ordering::Acquire)
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> CallLimits {
        self.0.limits
    }

    /// Returns the share of a new connection.
    #[must_use]
    pub fn share(&self) -> Arc<Share> {
        let limits = &self.0.limits;
        // A single connection gets no more than half of all calls.
        let calls = limits.calls_of_a_connection().min(limits.calls / 2);
        Arc::new(Share {
            all: Arc::clone(&self.0),
            calls: Bound::new(limits.calls_of_a_connection()),
            bytes: Bound::new(limits.bytes_of_a_connection()),
            large_reads: LargeReads::of_connection(),
            waiting: Waiting::new(calls - calls / PART_THAT_DOES_NOT_WAIT),
            expected: Expected::default(),
            aside: Bound::new(ASIDE),
            leaving: Leaving::default(),
        })
    }

    /// Returns the share of the connection that a request came over. Over no connection of the broker's own, the
    /// request has a share to itself.
    #[must_use]
    pub fn share_of(&self, extensions: &Extensions) -> Arc<Share> {
        let share = extensions.get::<Arc<Share>>().cloned();
        share.unwrap_or_else(|| self.share())
    }

    /// Returns how many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.calls.used()
    }

    /// Returns how many calls wait for providers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.calls.used()
    }

    /// Returns how many bytes of messages and answers are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.used()
    }

    /// Waits until no call is in flight.
    pub async fn drained(&self) {
        self.0.calls.unused().await;
    }
}

impl Share {
    /// Admits a call of this connection, or refuses it at once.
    ///
    /// # Errors
    /// Returns [`Error::Migrating`] before [`Admission::open`], and [`Error::Overloaded`] while the
    /// maximum number of calls is in flight.
    pub fn admit(self: &Arc<Self>) -> Result<Arc<Permit>, Error> {
        if self.all.migrating.load(Ordering::Acquire) {
            return Err(Error::Migrating);
        }
        if !is_fair(&self.calls, &self.all.calls, 1) {
            return Err(Error::Overloaded);
        }
        let places = taken(&self.calls, &self.all.calls, 1)?;
        let bytes = taken(&self.bytes, &self.all.bytes, 0)?;
        Ok(Arc::new(Permit::new(places, bytes, Arc::clone(self))))
    }

    /// Admits a call to a service beside the broker's own, or refuses it at once.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`].
    pub fn admit_aside(&self, places: &SidePlaces) -> Result<Aside, Error> {
        let _places = taken(&self.aside, &places.0, 1)?;
        Ok(Aside { _places })
    }

    /// Returns how many calls of this connection are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.used()
    }

    /// Returns whether an answer has been leaving since the last call but one of this method.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.leaving.next_generation()
    }
}

/// Whether a connection may have `more`. No connection may have more than what is left for all others, so
/// that a few greedy ones can't take everything: there is always something left for the next.
fn is_fair(connection: &Bound, process: &Bound, more: usize) -> bool {
    connection.used().saturating_add(more) <= process.free()
}

fn taken(own: &Arc<Bound>, all: &Arc<Bound>, amount: usize) -> Result<[Taken; 2], Error> {
    let own = own.take(amount).ok_or(Error::Overloaded)?;
    let all = all.take(amount).ok_or(Error::Overloaded)?;
    Ok([own, all])
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        refresh::waits::{self, Waits as _},
        types::ProviderName,
    };

    const KIB: usize = 1024;

    fn open(calls: usize) -> Admission {
        let admission = Admission::new(CallLimits {
            calls,
            bytes: 64 * KIB,
            largest: KIB,
        });
        admission.open();
        admission
    }

    fn is_overloaded<T>(outcome: &Result<T, Error>) -> bool {
        matches!(outcome, Err(Error::Overloaded))
    }

    #[test]
    fn one_call_too_many_is_refused_until_a_place_is_free() {
        let admission = open(1);
        let permit = admission.share().admit().unwrap();
        assert_eq!(admission.in_flight(), 1);
        assert!(is_overloaded(&admission.share().admit()));
        drop(permit);
        assert_eq!(admission.in_flight(), 0);
        assert!(admission.share().admit().is_ok());
    }

    #[test]
    fn a_connection_gets_a_part_of_the_places() {
        let admission = open(1_000);
        let greedy = admission.share();
        let permits: Vec<_> = (0..125).map(|_| greedy.admit().unwrap()).collect();
        assert!(is_overloaded(&greedy.admit()));
        assert!(admission.share().admit().is_ok());
        drop(permits);
        assert!(greedy.admit().is_ok());
    }

    #[test]
    fn greedy_connections_leave_something_for_the_next() {
        let admission = open(64);
        let mut permits = Vec::new();
        for left in [32, 16, 8, 4, 2, 1] {
            let greedy = admission.share();
            while let Ok(permit) = greedy.admit() {
                permits.push(permit);
            }
            assert_eq!(64 - admission.in_flight(), left);
        }
    }

    #[test]
    fn nothing_is_admitted_while_migrating() {
        let limits = open(1).limits();
        let admitted = Admission::new(limits).share().admit();
        assert!(matches!(admitted, Err(Error::Migrating)));
    }

    #[test]
    fn a_drain_waits_for_whatever_holds_a_share_in_a_permit() {
        let admission = open(2);
        let permit = admission.share().admit().unwrap();
        let answer = Arc::clone(&permit);
        let mut drained = Box::pin(admission.drained());
        assert!(drained.as_mut().now_or_never().is_none());
        drop(permit);
        assert!(drained.as_mut().now_or_never().is_none());
        drop(answer);
        assert!(drained.now_or_never().is_some());
    }

    #[test]
    fn bytes_are_bounded_in_the_process_and_on_each_connection() {
        let admission = open(100);
        let shares: Vec<_> = (0..5).map(|_| admission.share()).collect();
        let first = shares[0].admit().unwrap();
        first.hold(10 * KIB).unwrap();
        let second = shares[0].admit().unwrap();
        assert!(is_overloaded(&second.hold(7 * KIB)));
        first.hold(6 * KIB).unwrap();
        let others: Vec<_> = shares[1..4].iter().map(|s| s.admit().unwrap()).collect();
        for ((other, share), fair) in others.iter().zip(&shares[1..]).zip([16, 16, 8]) {
            other.hold(fair * KIB).unwrap();
            let next = share.admit().unwrap();
            assert!(is_overloaded(&next.hold(KIB)));
        }
        let last = shares[4].admit().unwrap();
        assert!(is_overloaded(&last.hold(9 * KIB)));
        // The request is gone, and the answer is smaller.
        first.answered(KIB).unwrap();
        last.hold(9 * KIB).unwrap();
        drop((first, others));
        last.hold(7 * KIB).unwrap();
    }

    #[test]
    fn what_never_fits_is_too_large() {
        let too_large = |outcome: Result<(), Error>| match outcome {
            Err(Error::TooLarge { size, limit, .. }) => (size / KIB, limit / KIB),
            other => panic!("{other:?}"),
        };
        // One connection may have 16 KiB of the 64.
        let share = open(100).share();
        let [call, other] = [share.admit().unwrap(), share.admit().unwrap()];
        assert_eq!(too_large(call.hold(17 * KIB)), (17, 16));
        call.hold(KIB).unwrap();
        assert_eq!(too_large(call.answered(17 * KIB)), (17, 16));
        other.hold(KIB).unwrap();
        assert!(is_overloaded(&call.answered(16 * KIB)));
        drop(other);
        call.answered(16 * KIB).unwrap();

        // One connection may have all of it, but no call more than what is left beside its own request.
        let admission = Admission::new(CallLimits {
            calls: 1,
            bytes: KIB,
            largest: 64 * KIB,
        });
        let call = large(&admission).admit().unwrap();
        call.hold(2 * KIB).unwrap();
        assert_eq!(too_large(call.answered(63 * KIB)), (63, 62));
        call.answered(62 * KIB).unwrap();
    }

    fn provider(name: &str) -> ProviderName {
        ProviderName::new(name).unwrap()
    }

    /// Lets those of the calls wait for a provider that may.
    fn wait(calls: &[Arc<Permit>], name: &str) -> Vec<waits::Place> {
        let provider = provider(name);
        calls.iter().filter_map(|c| c.wait_for(&provider)).collect()
    }

    fn admitted(share: &Arc<Share>, calls: usize) -> Vec<Arc<Permit>> {
        (0..calls).map(|_| share.admit().unwrap()).collect()
    }

    #[test]
    fn a_provider_leaves_places_for_calls_that_wait_for_others() {
        let admission = open(1_024);
        let share = admission.share();
        // 128 on the connection, of which 112 may wait: 84 for one provider, and then 28 for all others.
        let calls = admitted(&share, 128);
        let hung = wait(&calls, "hung");
        assert_eq!(hung.len(), 84);
        assert!(calls[84].wait_for(&provider("hung")).is_none());
        let slow = wait(&calls[84..], "slow");
        assert_eq!(slow.len(), 21);
        // Who waits for one may wait for another one.
        let works = wait(&calls[..20], "works");
        assert_eq!(works.len(), 20);
        // Another connection has its own places.
        let others = admitted(&admission.share(), 128);
        assert_eq!(wait(&others, "hung").len(), 84);
        // A place is free again when the call is answered, not when it has waited for one of its providers.
        drop(hung);
        assert_eq!(wait(&calls[105..], "hung").len(), 5);
        drop((slow, works));
        for call in &calls {
            call.answered(1).unwrap();
        }
        let next = admitted(&admission.share(), 1);
        assert_eq!(wait(&next, "hung").len(), 1);
    }

    #[test]
    fn a_provider_leaves_places_in_the_process() {
        let admission = open(256);
        let shares: Vec<_> = (0..4).map(|_| admission.share()).collect();
        // Of 256 calls 128 may wait: 96 for one provider. Of the 100 of a connection 88 may, and 66 for one.
        let most = [100, 78, 39, 19];
        let calls = shares
            .iter()
            .zip(most)
            .map(|(share, most)| admitted(share, most));
        let calls: Vec<_> = calls.collect();
        let hung: Vec<_> = calls.iter().map(|calls| wait(calls, "hung")).collect();
        let counts: Vec<_> = hung.iter().map(Vec::len).collect();
        assert_eq!(counts, [66, 30, 0, 0]);
        let works = wait(&calls[3], "works");
        assert_eq!(works.len(), 19);
        // However many providers there are, half of the calls wait at most.
        let names = ["a", "b", "c", "d", "e"];
        let others = calls[2]
            .chunks(7)
            .zip(names)
            .map(|(some, name)| wait(some, name));
        let others: Vec<_> = others.collect();
        let waiting = |held: &[Vec<_>]| held.iter().map(Vec::len).sum::<usize>();
        let all = waiting(&hung) + works.len() + waiting(&others);
        assert!((116..=128).contains(&all), "{all}");
        // Their places are free when the calls are gone.
        drop((hung, works, others, calls));
        assert_eq!(wait(&admitted(&shares[0], 100), "a").len(), 66);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_provider_keeps_no_place_among_the_large_reads() {
        let admission = roomy();
        let share = large(&admission);
        let [waiting, reading] = [share.admit().unwrap(), share.admit().unwrap()];
        waiting.large_read(LargeRead::Session).await.unwrap();
        assert!(is_overloaded(&reading.large_read(LargeRead::Session).await));
        let _place = waiting.wait_for(&provider("acme")).unwrap();
        reading.large_read(LargeRead::Session).await.unwrap();
        // The size of its answer counts all the same.
        waiting.answered(4 * KIB * KIB).unwrap();
        assert_eq!(share.expected.size(), expected::Size::Huge);
    }

    fn large(admission: &Admission) -> Arc<Share> {
        admission.open();
        admission.share()
    }

    /// Makes a large read whose answer has this many bytes.
    async fn read(share: &Arc<Share>, answer: usize) {
        let permit = share.admit().unwrap();
        permit.large_read(LargeRead::Session).await.unwrap();
        permit.answered(answer).unwrap();
    }

    fn roomy() -> Admission {
        Admission::new(CallLimits {
            calls: 1_000,
            bytes: 64 * KIB * KIB,
            largest: KIB,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_much_reads_it_one_after_the_other() {
        let admission = roomy();
        let greedy = large(&admission);
        read(&greedy, 4 * KIB * KIB).await;
        let permits: Vec<_> = (0..2).map(|_| greedy.admit().unwrap()).collect();
        let modest = large(&admission);
        read(&modest, KIB).await;
        permits[0].large_read(LargeRead::Session).await.unwrap();
        assert!(is_overloaded(
            &permits[1].large_read(LargeRead::Session).await
        ));
        read(&modest, KIB).await;
        permits[0].answered(4 * KIB * KIB).unwrap();
        permits[1].large_read(LargeRead::Session).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn large_reads_wait_for_each_other() {
        let admission = roomy();
        let share = large(&admission);
        read(&share, KIB).await;
        let permits: Vec<_> = (0..9).map(|_| share.admit().unwrap()).collect();
        for permit in &permits[..8] {
            permit.large_read(LargeRead::Session).await.unwrap();
        }
        assert!(is_overloaded(
            &permits[8].large_read(LargeRead::Session).await
        ));
        let mut waiting = Box::pin(permits[8].large_read(LargeRead::Session));
        assert!(waiting.as_mut().now_or_never().is_none());
        permits[0].answered(KIB).unwrap();
        waiting.await.unwrap();
        // The rows of users have places of their own.
        let other = share.admit().unwrap();
        other.large_read(LargeRead::User).await.unwrap();
    }
}
