//! Another policy comes in force while calls go on. How a file is read again is tested in `tests/e2e`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use token_broker::{
    access::{Rights, Role, Rpc},
    types::Reach,
};

use super::world::{Asks, FOREIGN, OWN, World, policy, providers, reason};

fn rights(roles: &[Role], names: &[&str]) -> Rights {
    Rights {
        roles: roles.to_vec(),
        reach: Reach {
            providers: providers(names),
            client: None,
        },
        ..Rights::default()
    }
}

#[tokio::test]
async fn a_new_policy_counts_for_calls_on_open_connections() {
    let both = || rights(&[Role::AuthServer], &[OWN, FOREIGN]);
    let world = World::start(policy([("one", both())])).await;
    world.fill("one").await;
    let (mut one, mut two) = (world.caller("one").await, world.caller("two").await);
    assert_eq!(reason(one.call(Rpc::Get, Asks::at(FOREIGN)).await), "OK");
    assert_eq!(
        reason(two.call(Rpc::Get, Asks::at(OWN)).await),
        "UNKNOWN_CALLER"
    );

    let fewer = rights(&[Role::AuthServer], &[OWN]);
    world
        .guard
        .replace(policy([("one", fewer), ("two", both())]));
    assert_eq!(
        reason(one.call(Rpc::Get, Asks::at(FOREIGN)).await),
        "NOT_ALLOWED"
    );
    assert_eq!(reason(one.call(Rpc::Get, Asks::at(OWN)).await), "OK");
    assert_eq!(reason(two.call(Rpc::Get, Asks::at(OWN)).await), "OK");

    world.guard.replace(policy([("two", both())]));
    assert_eq!(
        reason(one.call(Rpc::Get, Asks::at(OWN)).await),
        "UNKNOWN_CALLER"
    );
}

/// Policies that differ in what they don't give this caller come and go, and none of its calls fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_policies_change() {
    let both = || rights(&[Role::AuthServer], &[OWN, FOREIGN]);
    let world = World::start(policy([("one", both())])).await;
    world.fill("one").await;
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let mut one = world.caller("one").await;
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(reason(one.call(Rpc::Get, Asks::at(OWN)).await), "OK");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut policies = 0;
    while calls.load(Ordering::Relaxed) < 2_000 {
        let others = (policies % 2 == 0).then(|| ("two", both()));
        world
            .guard
            .replace(policy([("one", both())].into_iter().chain(others)));
        policies += 1;
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(policies > 10, "{policies}");
}
