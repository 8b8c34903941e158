//! A primary of a cluster hangs. Callers are served again as soon as its replica has taken over, however short
//! their deadlines are.

use std::time::{Duration, Instant};

use testkit::{
    broker::{Broker, rules},
    cluster::{self, Cluster, slot},
    redis_tenant::RedisTenant,
    rows::*,
    waiting::found,
};
use token_broker::tokens::Binding;

/// How long after the promotion no call fails any more.
const RECOVERY: Duration = Duration::from_secs(1);
/// How long calls are watched after that.
const CALM: Duration = Duration::from_secs(1);

/// When each call began, and whether it succeeded.
type Calls = Vec<(Instant, bool)>;

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_any_patience_are_served_by_the_new_primary_within_a_second() {
    let cluster = Cluster::start(&cluster::Options::default());
    cluster.settled().await;
    let tenant = RedisTenant::on(&cluster);
    let deadlines = [200, 500, 5_000].map(Duration::from_millis);
    let brokers = deadlines.map(|_| {
        let store = tenant.store_with(Duration::from_secs(1));
        Broker::new(store, rules(tenant.name().clone()))
    });
    let (key, all) = (key("s", "p"), Binding::default());
    brokers[0].put(&key, &row("u", "at")).await;
    for broker in &brokers {
        broker.get(&key, &all).await.unwrap();
    }
    assert_eq!(tenant.run::<u32>(&["WAIT", "1", "5000"]), 1);

    let primary = cluster.owner_of(slot(&tenant.prefix())).unwrap();
    let says = |node: usize, what: &str| {
        let info = cluster.nodes[node].ask::<String>(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains(what))
    };
    let follows = format!("master_port:{}\r", cluster.port(primary));
    let nodes = 0..cluster.nodes.len();
    let replica = nodes
        .into_iter()
        .find(|node| says(*node, &follows))
        .unwrap();
    cluster.nodes[primary].pause();

    let (end, ended) = tokio::sync::watch::channel(false);
    let callers = deadlines
        .into_iter()
        .zip(brokers)
        .map(|(deadline, broker)| {
            let (key, all, ended) = (key.clone(), all.clone(), ended.clone());
            tokio::spawn(async move {
                let mut calls = Calls::new();
                while !*ended.borrow() {
                    let begun = Instant::now();
                    let call = tokio::time::timeout(deadline, broker.get(&key, &all)).await;
                    calls.push((begun, matches!(call, Ok(Ok(_)))));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                calls
            })
        });
    let callers: Vec<_> = callers.collect();
    found("the replica takes over", || {
        says(replica, "role:master").then_some(())
    })
    .await;
    let promoted = Instant::now();
    tokio::time::sleep(RECOVERY + CALM).await;
    end.send(true).unwrap();
    for (deadline, caller) in deadlines.into_iter().zip(callers) {
        let calls = caller.await.unwrap();
        let late: Vec<_> = calls
            .iter()
            .filter(|(begun, _)| *begun > promoted + RECOVERY)
            .collect();
        let failed = late.iter().filter(|(_, succeeded)| !succeeded).count();
        assert!(
            failed == 0 && !late.is_empty(),
            "with {deadline:?}, {failed} of {} calls failed after the recovery",
            late.len()
        );
    }
}
