//! The same crowds on a cluster, and where writes wait for replicas.

use std::time::Duration;
use testkit::{
    cluster::{Cluster, Options},
    launch::Launch,
    redis_server::RedisServer,
    replica::follow,
};

use crate::{
    CROWD,
    brokers::{Brokers, PATIENT, consume, counts, pending, resolve, tally},
    consuming::callbacks,
    resolving::{Answer, one_user, records},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_there_is_one_user_and_one_winner() {
    // A node that stands still for a moment isn't failed over.
    let cluster = Cluster::start(&Options {
        node_timeout: Duration::from_secs(30),
        ..Options::default()
    });
    cluster.settled().await;
    let brokers = Brokers::on(&cluster, &PATIENT).await;
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    let answers = brokers
        .crowd(&nodes, CROWD, |_, channel| async {
            resolve(channel, "okta", "alice").await
        })
        .await;
    one_user(answers.iter()).unwrap();
    let answers = callbacks(&brokers, &nodes, "x").await;
    assert_eq!(
        tally(&answers),
        counts([("OK", 1), ("STATE_NOT_FOUND", CROWD - 1)])
    );
}

/// Starts a primary and a replica.
async fn pair() -> (RedisServer, RedisServer) {
    let primary = RedisServer::start();
    let replica = follow(&primary, Launch::default()).await;
    (primary, replica)
}

/// Brokers whose writes wait for a replica. Enough of them may wait at once that a crowd is soon done.
const REPLICATED: [&str; 2] = ["--durability=replicated", "--durability-connections=64"];
/// As long as it takes.
const CALM: &str = "--durability-timeout=20s";
/// So short a time that a crowd is soon refused.
const HASTY: &str = "--durability-timeout=200ms";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_replicas_there_is_one_user_and_one_winner() {
    let (primary, replica) = pair().await;
    let settings = [&PATIENT[..], &REPLICATED, &[CALM]].concat();
    let brokers = Brokers::on(&primary, &settings).await;
    let answers = brokers
        .crowd(&[&primary], CROWD, |_, channel| async {
            resolve(channel, "okta", "alice").await
        })
        .await;
    let user = one_user(answers.iter()).unwrap();
    assert_eq!(records(&replica), [user].into());
    let answers = callbacks(&brokers, &[&primary], "x").await;
    assert_eq!(
        tally(&answers),
        counts([("OK", 1), ("STATE_NOT_FOUND", CROWD - 1)])
    );
}

/// A user whom no replica knows is never named in an answer, however many ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_of_a_user_whom_no_replica_has() {
    let (primary, replica) = pair().await;
    let brokers = Brokers::on(&primary, &[&PATIENT[..], &REPLICATED, &[HASTY]].concat()).await;
    let calm = Brokers::on(&primary, &[&PATIENT[..], &REPLICATED, &[CALM]].concat()).await;
    calm.one(0)
        .pending()
        .create(pending("x", "c"))
        .await
        .unwrap();
    replica.pause();
    let login = |_, channel| async { resolve(channel, "okta", "alice").await };
    let answers = brokers.rush(CROWD, login).await;
    assert_eq!(tally(&answers), counts([("NOT_DURABLE", CROWD)]));
    let made = records(&primary);
    assert_eq!(made.len(), 1);
    // Nor is anybody given a login that another replica would give away again.
    let callback = |_, channel| async { consume(channel, "x", None).await };
    let answers = brokers.rush(CROWD, callback).await;
    assert!(!tally(&answers).contains_key("OK"), "{:?}", tally(&answers));

    // The control: brokers that wait for no replica name the user.
    let careless = Brokers::on(&primary, &PATIENT).await;
    let answers = careless.rush(CROWD, login).await;
    assert_eq!(tally(&answers), counts([("OK", CROWD)]));

    replica.resume();
    let answers = calm.rush(CROWD, login).await;
    let user = made.first().unwrap().clone();
    let is_told = |answer: &Answer| {
        answer
            .as_ref()
            .is_ok_and(|told| *told == (user.clone(), false))
    };
    assert!(answers.iter().all(is_told), "{:?}", tally(&answers));
    assert_eq!(records(&replica), made);
}
