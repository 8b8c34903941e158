//! Whose turn it is on a busy thread.

use std::sync::atomic::AtomicUsize;

use tokio::{task::JoinSet, task::yield_now};

use super::{
    super::{
        busy::{LEAST, be_late},
        turns::Turns,
    },
    callers::named,
    *,
};

/// What each of the two steps of a call costs this thread.
const STEP: Duration = Duration::from_micros(50);
/// How many calls the greedy caller has at once.
const FLOOD: usize = 100;

fn work() {
    let end = std::time::Instant::now() + STEP;
    while std::time::Instant::now() < end {}
}

/// A call that is served in two steps, as one that asks Redis is.
async fn call(admission: &Admission, tenant: &Arc<TenantShare>, name: &str) {
    let of = tenant.of_caller(&named(name));
    let permit = admission
        .share(Source::default())
        .admit(tenant, of)
        .unwrap();
    permit.turn().await;
    work();
    yield_now().await;
    work();
    permit.answered(1).unwrap();
}

/// Returns how many calls of a greedy caller of a tenant are served during one of a modest caller: the median of many.
async fn served_meanwhile(
    admission: &Admission,
    (greedy, modest): (&Arc<TenantShare>, &Arc<TenantShare>),
) -> usize {
    let served = Arc::<AtomicUsize>::default();
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let (admission, tenant) = (admission.clone(), Arc::clone(greedy));
        let served = Arc::clone(&served);
        flood.spawn(async move {
            loop {
                call(&admission, &tenant, "greedy").await;
                served.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
    }
    let mut meanwhile = Vec::new();
    for _ in 0..100 {
        yield_now().await;
        let before = served.load(Ordering::Relaxed);
        call(admission, modest, "modest").await;
        meanwhile.push(served.load(Ordering::Relaxed) - before);
    }
    meanwhile.sort_unstable();
    meanwhile[meanwhile.len() / 2]
}

#[tokio::test]
async fn a_caller_with_many_calls_leaves_turns_to_others() {
    let Open(admission, tenant) = open(1_024);
    let served = served_meanwhile(&admission, (&tenant, &tenant)).await;
    // Without turns it is as many as it has at once.
    assert!(served < FLOOD / 3, "{served}");
}

#[tokio::test]
async fn the_calls_of_a_caller_that_is_alone_wait_for_no_turn() {
    let Open(admission, tenant) = open(1_024);
    let mut flood = JoinSet::new();
    let at_once = Arc::<AtomicUsize>::default();
    for _ in 0..FLOOD {
        let (admission, tenant) = (admission.clone(), Arc::clone(&tenant));
        let at_once = Arc::clone(&at_once);
        flood.spawn(async move {
            let of = tenant.of_caller(&named("alone"));
            let permit = admission
                .share(Source::default())
                .admit(&tenant, of)
                .unwrap();
            permit.turn().await;
            work();
            at_once.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
            drop(permit);
        });
    }
    while at_once.load(Ordering::Relaxed) < FLOOD {
        yield_now().await;
    }
}

/// A turn goes to the next call whatever becomes of those before it, and a call that waits too long is begun all the same.
#[tokio::test(start_paused = true)]
async fn no_turn_is_lost() {
    let turns = Turns::new(1);
    let now = Instant::now();
    // As if this thread had found itself late again and again.
    for _ in 0..50 {
        be_late(now);
    }
    let next = || Box::pin(turns.next(now, true, 1));
    let mut first = Vec::new();
    for _ in 0..LEAST {
        first.push(next().now_or_never().unwrap());
    }
    let (mut given_up, mut waits, mut late) = (next(), next(), next());
    for wait in [&mut given_up, &mut waits, &mut late] {
        assert!(wait.as_mut().now_or_never().is_none());
    }
    drop(given_up);
    first.pop();
    let second = waits.await;
    assert!(late.as_mut().now_or_never().is_none());
    // Nobody's turn ends for a second.
    let third = late.await;
    assert!(now.elapsed() >= Duration::from_secs(1));
    drop((first, second, third));
    assert!(next().now_or_never().is_some());
}

/// A call that counts as several has its turn when there is none beside it, and light ones don't keep it from that.
#[tokio::test(start_paused = true)]
async fn a_heavy_call_waits_for_light_ones_and_those_behind_it_wait_for_it() {
    let (turns, now) = (Turns::new(1), Instant::now());
    for _ in 0..50 {
        be_late(now);
    }
    let next = |weight| Box::pin(turns.next(now, true, weight));
    let light = next(1).now_or_never().unwrap();
    let (mut heavy, mut behind) = (next(LEAST), next(1));
    for wait in [&mut heavy, &mut behind] {
        assert!(wait.as_mut().now_or_never().is_none());
        // However often the thread comes round.
        for _ in 0..4 {
            yield_now().await;
        }
        assert!(wait.as_mut().now_or_never().is_none());
    }
    drop(light);
    let heavy = heavy.await;
    assert!(behind.as_mut().now_or_never().is_none());
    drop(heavy);
    let _behind = behind.await;
    assert_eq!(now.elapsed(), Duration::ZERO, "nobody ran out of patience");
    assert!(turns.are_few(LEAST, 1) && !turns.are_few(2, LEAST));
}

/// What ends before it had its turn counts as refused.
#[tokio::test(start_paused = true)]
async fn calls_that_end_before_their_turn_are_paced() {
    let Open(admission, tenant) = open(1_024);
    let connection = admission.share(Source::default());
    let call = || {
        let of = tenant.of_caller(&named("leaves"));
        connection.admit(&tenant, of).unwrap()
    };
    for _ in 0..2_000 {
        let permit = call();
        permit.turn().await;
        permit.note_end();
    }
    assert_eq!(connection.paused_until(), None);
    for _ in 0..2_000 {
        call().note_end();
    }
    assert!(connection.paused_until().is_some());
}
