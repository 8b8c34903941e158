//! What one caller may have of what its tenant has.

use futures_util::future::BoxFuture;

use super::*;
use crate::access::Rights;

/// A caller of the policy.
pub fn named(name: &str) -> Caller {
    let tenant = Arc::new("a:b".parse().unwrap());
    Caller::new(name.to_owned(), tenant, Rights::default())
}

/// Makes calls of `caller` over as many connections as it likes, until one is refused.
fn flood(admission: &Open, caller: &Caller) -> Vec<Arc<Permit>> {
    let Open(admission, tenant) = admission;
    let calls = std::iter::from_fn(|| {
        admission
            .share(Source::default())
            .admit(tenant, tenant.of_caller(caller))
            .ok()
    });
    calls.collect()
}

#[test]
fn a_caller_leaves_calls_for_the_others_of_its_tenant() {
    let admission = open(1_024);
    let first = flood(&admission, &named("first"));
    assert_eq!(first.len(), 768);
    let second = flood(&admission, &named("second"));
    assert_eq!(second.len(), 192);
    let third = flood(&admission, &named("third"));
    assert_eq!(third.len(), 48);
    // Whatever the first gives back goes to the others first.
    drop(first);
    assert_eq!(flood(&admission, &named("second")).len(), 540);
}

/// A caller keeps its share whatever policy comes in force, because each policy makes callers of its own.
#[test]
fn a_caller_of_the_next_policy_has_the_same_share() {
    let admission = open(64);
    let before = flood(&admission, &named("first"));
    assert_eq!(before.len(), 48);
    assert!(flood(&admission, &named("first")).is_empty());
    // Of another tenant's caller of this name it isn't the share.
    let other = admission.0.tenant();
    other.open();
    let call = admission
        .0
        .share(Source::default())
        .admit(&other, other.of_caller(&named("first")));
    assert!(call.is_ok());
}

#[test]
fn without_a_policy_there_is_one_caller_and_it_may_have_everything() {
    let admission = open(1_024);
    assert_eq!(flood(&admission, &anybody()).len(), 1_024);
    assert_eq!(flood(&open(1), &named("alone")).len(), 1);
}

#[test]
fn a_caller_leaves_bytes_for_the_others_of_its_tenant() {
    let admission = open(1_024);
    let hold = |caller| {
        let calls = flood(&admission, &named(caller));
        let held = calls.iter().filter(|call| call.hold(KIB).is_ok()).count();
        (held, calls)
    };
    let (first, calls) = hold("first");
    assert_eq!(first, 48);
    let (second, others) = hold("second");
    assert_eq!(second, 12);
    drop(others);
    // Who holds nothing else may hold whatever there is.
    let [one, two] = [0, 1].map(|_| admission.share().0);
    let third = named("third");
    let one = one
        .admit(&admission.1, admission.1.of_caller(&third))
        .unwrap();
    one.hold(15 * KIB).unwrap();
    let two = two
        .admit(&admission.1, admission.1.of_caller(&third))
        .unwrap();
    assert!(is_overloaded(&two.hold(KIB)));
    drop(one);
    two.hold(KIB).unwrap();
    drop(calls);
    assert_eq!(admission.0.bytes(), KIB);
}

/// Among several tenants, others may leave a tenant less than it is given. That counts, too.
#[test]
fn a_caller_leaves_something_of_what_other_tenants_leave() {
    let admission = Admission::new(CallLimits {
        calls: 1_000,
        bytes: 64 * KIB,
        largest: KIB,
        of_a_tenant: Some(TenantLimits {
            calls: 400,
            bytes: 64 * KIB,
        }),
    });
    let tenant = || {
        let tenant = admission.tenant();
        tenant.open();
        Open(admission.clone(), tenant)
    };
    let greedy = [tenant(), tenant()].map(|tenant| flood(&tenant, &anybody()));
    assert_eq!(greedy.each_ref().map(Vec::len), [400, 300]);
    let tenant = tenant();
    let first = flood(&tenant, &named("first"));
    assert_eq!(first.len(), 112);
    let second = flood(&tenant, &named("second"));
    assert_eq!(second.len(), 28);
}

#[test]
fn a_caller_leaves_places_for_others_who_wait_for_the_same_provider() {
    let admission = open(1_024);
    let hung = provider("hung");
    let wait = |calls: &[Arc<Permit>], free: &mut usize| -> Vec<_> {
        let may = |call: &Arc<Permit>| {
            let place = call.wait_for(&hung, *free)?;
            *free -= 1;
            Some(place)
        };
        calls.iter().filter_map(may).collect()
    };
    let (first, second) = (
        flood(&admission, &named("first")),
        flood(&admission, &named("second")),
    );
    // Of the 512 that may wait, 384 may for one provider.
    let mut free = FREE;
    let greedy = wait(&first, &mut free);
    assert_eq!(greedy.len(), 341);
    let others = wait(&second, &mut free);
    assert_eq!(others.len(), 43);
    drop((greedy, others, first, second));
    // Of those whom the provider's own settings let wait, too.
    let (first, second) = (
        flood(&admission, &named("first")),
        flood(&admission, &named("second")),
    );
    let mut free = 30;
    let greedy = wait(&first, &mut free);
    assert_eq!(greedy.len(), 20);
    let others = wait(&second, &mut free);
    assert_eq!(others.len(), 6);
}

/// A caller whose large reads queue isn't in the way of those of another one, who waits for one that goes on at most.
#[tokio::test(start_paused = true)]
async fn the_large_reads_of_a_caller_queue_behind_its_own() {
    let admission = roomy();
    let (greedy, modest) = (named("greedy"), named("modest"));
    let call = |caller| {
        let of = admission.1.of_caller(caller);
        admission
            .0
            .share(Source::default())
            .admit(&admission.1, of)
            .unwrap()
    };
    let calls: Vec<_> = (0..64).map(|_| call(&greedy)).collect();
    let mut reads: Vec<_> = calls.iter().map(read_of).collect();
    let count = reads.len();
    reads.retain_mut(|read| !is_begun(read));
    let begun = count - reads.len();
    assert!((1..count).contains(&begun), "{begun}");
    let other = call(&modest);
    let mut read = read_of(&other);
    assert!(!is_begun(&mut read));
    calls[0].answered(KIB).unwrap();
    assert!(!reads.iter_mut().any(is_begun));
    assert!(is_begun(&mut read));
}

fn read_of(call: &Arc<Permit>) -> BoxFuture<'_, Result<(), Error>> {
    call.large_read(LargeRead::Session).boxed()
}

/// Whether a large read has its place.
fn is_begun(read: &mut BoxFuture<'_, Result<(), Error>>) -> bool {
    // At its first look a thread finds out whether it is late.
    let mut looks = (0..2).filter_map(|_| read.now_or_never());
    looks.next().is_some_and(|read| read.is_ok())
}

/// Where a proxy's callers share a connection, nobody is kept from anything by strangers there. So these cost no caller anything
/// elsewhere either.
#[tokio::test(start_paused = true)]
async fn strangers_on_a_shared_connection_slow_no_caller_elsewhere() {
    let Open(admission, tenant) = open(1_024);
    let of = |name: &str| tenant.of_caller(&named(name)).unwrap();
    let (proxy, own) = (
        admission.share(Source::default()),
        admission.share(Source::default()),
    );
    proxy.note_caller(&of("first"));
    proxy.note_caller(&of("second"));
    own.note_caller(&of("first"));
    for _ in 0..5_000 {
        proxy.note_refused(None);
    }
    own.note_refused(None);
    assert_eq!((proxy.paused_until(), own.paused_until()), (None, None));
    // The caller's own refusals do, wherever they are.
    for _ in 0..5_000 {
        proxy.note_refused(Some(&of("first")));
    }
    own.note_refused(None);
    assert_eq!(proxy.paused_until(), None);
    assert!(own.paused_until().is_some());
}
