//! Listings and deletions of a user's rows that begin at one server and end at another.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    broker::Broker,
    cluster::{Cluster, Options, slot},
    redis_tenant::RedisTenant,
    rows::*,
    sentinel::{self, Sentinels},
    waiting::found,
};
use token_broker::store::redis::RedisStore;
use tokio::task::JoinHandle;

use crate::TURN;

/// More than one page of the store's.
const SESSIONS: usize = 5_000;
/// How many listings are under way at any time.
const READERS: usize = 6;

/// Gives the user `u` rows in many sessions, and waits until the replicas have them.
fn log_in(tenant: &RedisTenant, replicas: usize) {
    let index = tenant.key("user:upstream:u");
    let mut raw = tenant.raw();
    let mut pipe = redis::pipe();
    for number in 0..SESSIONS {
        let row = tenant.key(&format!("upstream:s{number}:p"));
        let json = r#"{"version":7,"user_id":"u","provider_id":"p","access_token":"at"}"#;
        pipe.set(&row, json).ignore().sadd(&index, &row).ignore();
    }
    pipe.exec(&mut raw).unwrap();
    let have: usize = redis::cmd("WAIT")
        .arg(replicas)
        .arg(10_000)
        .query(&mut raw)
        .unwrap();
    assert!(have >= replicas);
}

/// Reads the listing, each page until it is answered. Returns how many rows it has.
async fn listed(broker: &Broker<RedisStore>) -> usize {
    let (mut found, mut next) = (BTreeSet::new(), None::<String>);
    loop {
        let Ok(page) = broker
            .list_user_sessions(&user("u"), 300, next.as_deref(), &Default::default())
            .await
        else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        found.extend(page.sessions.into_iter().map(|session| session.key));
        next = page.next;
        if next.is_none() {
            return found.len();
        }
    }
}

/// Lists again and again until `over`. Returns how many rows each listing had.
fn readers(tenant: &RedisTenant, over: &Arc<AtomicBool>) -> Vec<JoinHandle<Vec<usize>>> {
    let reader = |_| {
        let (broker, over) = (tenant.broker(), Arc::clone(over));
        tokio::spawn(async move {
            let mut counts = Vec::new();
            while !over.load(Ordering::Relaxed) {
                counts.push(listed(&broker).await);
            }
            counts
        })
    };
    (0..READERS).map(reader).collect()
}

/// No listing lacks a row, whichever servers it was read from.
async fn lacks_no_row(readers: Vec<JoinHandle<Vec<usize>>>) {
    let mut listings = 0;
    for reader in readers {
        let counts = reader.await.unwrap();
        listings += counts.len();
        assert!(counts.iter().all(|count| *count == SESSIONS), "{counts:?}");
    }
    assert!(listings > READERS, "no listing was under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_during_a_failover_lacks_no_row() {
    let _turn = TURN.lock().await;
    let deployment = Sentinels::start(&sentinel::Options::default());
    deployment.settled().await;
    let tenant = RedisTenant::on(&deployment);
    log_in(&tenant, 2);
    let over = Arc::default();
    let readers = readers(&tenant, &over);
    listed(&tenant.broker()).await;
    deployment.failover().await;
    listed(&tenant.broker()).await;
    over.store(true, Ordering::Relaxed);
    lacks_no_row(readers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_during_a_failover_of_a_cluster_lacks_no_row() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::start(&Options {
        // No node fails, but on a busy machine one may stand still.
        node_timeout: Duration::from_secs(3),
        ..Options::default()
    });
    cluster.settled().await;
    let tenant = RedisTenant::on(&cluster);
    let slot = slot(&tenant.prefix());
    let old = cluster.owner_of(slot).unwrap();
    log_in(&tenant, 1);
    let over = Arc::default();
    let readers = readers(&tenant, &over);
    listed(&tenant.broker()).await;
    let replica = (old + 3) % 6;
    let ask = || cluster.nodes[replica].ask::<()>(&["CLUSTER", "FAILOVER"]);
    ask().unwrap();
    let mut asked = Instant::now();
    found("another node holds the slot", || {
        // On a busy machine it may give up, after five seconds.
        if asked.elapsed() > Duration::from_secs(6) {
            ask().ok();
            asked = Instant::now();
        }
        cluster.owner_of(slot).filter(|owner| *owner != old)
    })
    .await;
    listed(&tenant.broker()).await;
    over.store(true, Ordering::Relaxed);
    lacks_no_row(readers).await;
}
