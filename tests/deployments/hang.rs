//! A primary hangs. Callers are served again as soon as its replica has taken over, however short their deadlines
//! are.

use std::time::{Duration, Instant};

use testkit::{
    broker::{Broker, request, rules},
    cluster::{self, Cluster, slot},
    redis_tenant::RedisTenant,
    rows::*,
    sentinel::{self, Sentinels},
    waiting::found,
};
use token_broker::tokens::Binding;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// How long after the promotion no call fails any more.
const RECOVERY: Duration = Duration::from_secs(1);
/// How long calls are watched after that.
const CALM: Duration = Duration::from_millis(700);
/// The deadlines of the callers.
const DEADLINES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(5),
];

/// Callers that read again and again, each with a broker of its own.
struct Callers {
    end: watch::Sender<bool>,
    /// When each call began, and whether it succeeded.
    calls: Vec<JoinHandle<Vec<(Instant, bool)>>>,
}

impl Callers {
    /// Stores a row, waits until a replica has it, and starts the callers.
    async fn start(tenant: &RedisTenant) -> Self {
        let broker = || {
            let store = tenant.store_with(Duration::from_secs(1));
            Broker::new(store, rules(tenant.name().clone()))
        };
        let (key, all) = (key("s", "p"), Binding::default());
        let mut raw = tenant.raw();
        broker().put(&key, &row("u", "at")).await;
        redis::cmd("SET")
            .arg(tenant.key("mark"))
            .arg(1)
            .exec(&mut raw)
            .unwrap();
        let wait = redis::cmd("WAIT").arg(1).arg(5_000).to_owned();
        assert!(wait.query::<u32>(&mut raw).unwrap() > 0);

        let end = watch::Sender::new(false);
        let mut calls = Vec::new();
        for deadline in DEADLINES {
            let (broker, key, ended) = (broker(), key.clone(), end.subscribe());
            let all = all.clone();
            broker.get(&key, &all).await.unwrap();
            calls.push(tokio::spawn(async move {
                let mut calls = Vec::new();
                while !*ended.borrow() {
                    let begun = Instant::now();
                    let call = tokio::time::timeout(deadline, broker.get(&key, &all)).await;
                    calls.push((begun, matches!(call, Ok(Ok(_)))));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                calls
            }));
        }
        Self { end, calls }
    }

    /// Checks that no call fails any more a little after the promotion, which has just been seen.
    async fn are_served(self) {
        let promoted = Instant::now();
        tokio::time::sleep(RECOVERY + CALM).await;
        self.end.send(true).unwrap();
        for (deadline, calls) in DEADLINES.into_iter().zip(self.calls) {
            let mut late = calls.await.unwrap();
            late.retain(|(begun, _)| *begun > promoted + RECOVERY);
            let failed = late.iter().filter(|(_, succeeded)| !succeeded).count();
            assert!(
                failed == 0 && !late.is_empty(),
                "with {deadline:?}, {failed} of {} calls failed after the recovery",
                late.len()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_any_patience_follow_a_new_primary_of_a_cluster_within_a_second() {
    let cluster = Cluster::start(&cluster::Options::default());
    cluster.settled().await;
    let tenant = RedisTenant::on(&cluster);
    let primary = cluster.owner_of(slot(&tenant.prefix())).unwrap();
    let says = |node: usize, what: &str| {
        let info = cluster.nodes[node].ask::<String>(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains(what))
    };
    let follows = format!("master_port:{}\r", cluster.port(primary));
    let mut nodes = 0..cluster.nodes.len();
    let replica = nodes.find(|node| says(*node, &follows)).unwrap();

    let callers = Callers::start(&tenant).await;
    cluster.nodes[primary].pause();
    found("the replica takes over", || {
        says(replica, "role:master").then_some(())
    })
    .await;
    callers.are_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_any_patience_follow_the_sentinels_within_a_second() {
    let sentinels = Sentinels::start(&sentinel::Options::default());
    let primary = sentinels.settled().await;
    let tenant = RedisTenant::on(&sentinels);
    let callers = Callers::start(&tenant).await;
    sentinels.servers[primary].pause();
    sentinels.successor_of(primary).await;
    callers.are_served().await;
}

/// Writes that wait for replicas have connections of their own. When another server takes over, nothing spins that
/// waits for a connection to the old primary: it would keep the threads from all other work.
#[tokio::test(flavor = "multi_thread")]
async fn no_thread_is_kept_busy_when_another_server_takes_over_from_writes_that_wait() {
    let sentinels = Sentinels::start(&sentinel::Options::default());
    let primary = sentinels.settled().await;
    let tenant = RedisTenant::on(&sentinels).with("durability", "replicated");
    let broker = tenant.broker();
    let mut callers = JoinSet::new();
    for number in 0..24 {
        let (broker, key) = (broker.clone(), key(&format!("s{number}"), "p"));
        callers.spawn(async move {
            loop {
                let stored = broker.store(request(&key, &row("u", "at")));
                _ = tokio::time::timeout(Duration::from_secs(2), stored).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let (longest, seen) = watch::channel(Duration::ZERO);
    callers.spawn(async move {
        loop {
            let begun = Instant::now();
            tokio::time::sleep(Duration::from_millis(10)).await;
            longest.send_if_modified(|longest| {
                let is_longer = begun.elapsed() > *longest;
                *longest = begun.elapsed().max(*longest);
                is_longer
            });
        }
    });
    sentinels.servers[primary].pause();
    sentinels.successor_of(primary).await;
    let promoted = Instant::now();
    tokio::time::sleep_until((promoted + 3 * RECOVERY).into()).await;
    let longest = *seen.borrow();
    assert!(longest < RECOVERY, "a pause of 10 ms took {longest:?}");
}
