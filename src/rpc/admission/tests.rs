//! What is admitted, and what isn't.

mod aside;
mod callers;
mod turns;

use futures_util::FutureExt;

use super::*;
use crate::{
    access::Caller,
    refresh::waits::{self, Waits as _},
    types::ProviderName,
};

const KIB: usize = 1024;
/// How many may wait for a provider by its own settings.
const FREE: usize = 10_000;

/// An admission, and its only tenant, whose calls are admitted.
struct Open(Admission, Arc<TenantShare>);

/// A connection of that tenant's.
#[derive(Clone)]
struct Connection(Arc<Share>, Arc<TenantShare>);

impl Open {
    fn new(limits: CallLimits) -> Self {
        let admission = Admission::new(limits);
        let tenant = admission.tenant();
        tenant.open();
        Self(admission, tenant)
    }

    fn share(&self) -> Connection {
        Connection(self.0.share(Source::default()), Arc::clone(&self.1))
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }
}

impl Connection {
    fn admit(&self) -> Result<Arc<Permit>, Error> {
        self.0.admit(&self.1, self.1.of_caller(&anybody()))
    }
}

/// Whoever calls without a policy.
fn anybody() -> Caller {
    Caller::anybody("a:b".parse().unwrap())
}

fn open(calls: usize) -> Open {
    Open::new(CallLimits {
        calls,
        bytes: 64 * KIB,
        largest: KIB,
        of_a_tenant: None,
    })
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
    let Open(admission, tenant) = open(1);
    let migrating = admission.tenant();
    let share = admission.share(Source::default());
    assert!(matches!(
        share.admit(&migrating, None),
        Err(Error::Migrating)
    ));
    assert!(share.admit(&tenant, None).is_ok(), "another tenant");
    tenant.close();
    assert!(matches!(share.admit(&tenant, None), Err(Error::Migrating)));
}

#[test]
fn a_drain_waits_for_whatever_holds_a_share_in_a_permit() {
    let admission = open(2);
    let permit = admission.share().admit().unwrap();
    let answer = Arc::clone(&permit);
    let mut drained = Box::pin(admission.0.drained());
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
fn tenants_leave_bytes_and_calls_for_the_next() {
    let admission = Admission::new(CallLimits {
        calls: 64,
        bytes: 64 * KIB,
        largest: KIB,
        of_a_tenant: Some(TenantLimits {
            calls: 48,
            bytes: 48 * KIB,
        }),
    });
    let mut held = Vec::new();
    for left in [32, 16, 8, 4] {
        let greedy = admission.tenant();
        greedy.open();
        // Each call comes over a connection of its own, so that the tenant's share is what bounds it.
        while let Ok(call) = admission.share(Source::default()).admit(&greedy, None) {
            held.push(call);
            if held.last().is_some_and(|call| call.hold(KIB).is_err()) {
                break;
            }
        }
        assert_eq!(64 - admission.in_flight(), left);
        assert_eq!(64 - admission.bytes() / KIB, left);
    }
    // One alone may have all that it is given.
    drop(held);
    let tenant = admission.tenant();
    tenant.open();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            admission
                .share(Source::default())
                .admit(&tenant, None)
                .unwrap()
        })
        .collect();
    for call in &calls {
        call.hold(4 * KIB).unwrap();
    }
    assert!(is_overloaded(&calls[0].hold(KIB)));
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
    let admission = Open::new(CallLimits {
        calls: 1,
        bytes: KIB,
        largest: 64 * KIB,
        of_a_tenant: None,
    });
    let call = admission.share().admit().unwrap();
    call.hold(2 * KIB).unwrap();
    assert_eq!(too_large(call.answered(63 * KIB)), (63, 62));
    call.answered(62 * KIB).unwrap();
}

fn provider(name: &str) -> ProviderName {
    ProviderName::new(name).unwrap()
}

/// Lets those of the calls wait for a provider that may.
fn wait(calls: &[Arc<Permit>], name: &str) -> Vec<waits::MayWait> {
    let provider = provider(name);
    calls
        .iter()
        .filter_map(|c| c.wait_for(&provider, FREE))
        .collect()
}

fn admitted(share: &Connection, calls: usize) -> Vec<Arc<Permit>> {
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
    assert!(calls[84].wait_for(&provider("hung"), FREE).is_none());
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
    let share = admission.share();
    let [waiting, reading] = [share.admit().unwrap(), share.admit().unwrap()];
    waiting.large_read(LargeRead::Session).await.unwrap();
    assert!(is_overloaded(&reading.large_read(LargeRead::Session).await));
    let _place = waiting.wait_for(&provider("acme"), FREE).unwrap();
    reading.large_read(LargeRead::Session).await.unwrap();
    // The size of its answer counts all the same.
    waiting.answered(4 * KIB * KIB).unwrap();
    assert_eq!(share.0.expected.size(), expected::Size::Huge);
}

/// Makes a large read whose answer has this many bytes.
async fn read(share: &Connection, answer: usize) {
    let permit = share.admit().unwrap();
    permit.large_read(LargeRead::Session).await.unwrap();
    permit.answered(answer).unwrap();
}

fn roomy() -> Open {
    Open::new(CallLimits {
        calls: 1_000,
        bytes: 64 * KIB * KIB,
        largest: KIB,
        of_a_tenant: None,
    })
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_much_reads_it_one_after_the_other() {
    let admission = roomy();
    let greedy = admission.share();
    read(&greedy, 4 * KIB * KIB).await;
    let permits: Vec<_> = (0..2).map(|_| greedy.admit().unwrap()).collect();
    let modest = admission.share();
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
    let share = admission.share();
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
