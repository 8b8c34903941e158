//! Failovers that Sentinel makes.

use tokio::sync::Mutex;

use crate::{
    report,
    round::World,
    series::{self, Rounds},
    support::{
        broker_process::BrokerProcess,
        sentinel::{Options, Sentinels},
    },
};

/// One deployment at a time, so that one doesn't slow another's sentinels down.
static TURN: Mutex<()> = Mutex::const_new(());

/// A deployment of servers with these lines of configuration, and two brokers.
async fn world(durability: &str, server: &[&str]) -> World {
    let deployment = Sentinels::start(&Options {
        server: server.iter().map(ToString::to_string).collect(),
        ..Options::default()
    });
    deployment.settled().await;
    let url = deployment.url();
    let settings = [
        "--backend",
        "redis",
        "--redis-url",
        &url,
        "--durability",
        durability,
    ];
    let brokers = vec![
        BrokerProcess::start(&settings),
        BrokerProcess::start(&settings),
    ];
    for broker in &brokers {
        broker.serving().await;
    }
    World {
        deployment,
        brokers,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_replicated() {
    let _turn = TURN.lock().await;
    let world = world("replicated", &[]).await;
    let rounds = Rounds {
        few: [3, 2, 1],
        all: [10, 5, 5],
    };
    let lines = series::run("replicated", &world, rounds).await;
    report::publish("replicated", &lines);
    series::assert_nothing_lost(&lines);
    series::assert_answers(&lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_where_a_primary_without_replicas_takes_no_writes() {
    let _turn = TURN.lock().await;
    let server = ["min-replicas-to-write 1", "min-replicas-max-lag 1"];
    let world = world("replicated", &server).await;
    let rounds = Rounds {
        few: [2, 1, 1],
        all: [10, 5, 5],
    };
    let lines = series::run("min-replicas", &world, rounds).await;
    report::publish("min-replicas", &lines);
    series::assert_nothing_lost(&lines);
    series::assert_answers(&lines);
}

/// The control: where nobody waits for a replica the same partitions lose writes, and the same
/// checker says so.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_are_lost_when_they_are_not_replicated() {
    let _turn = TURN.lock().await;
    let world = world("primary", &[]).await;
    let rounds = Rounds {
        few: [3, 0, 0],
        all: [10, 0, 0],
    };
    let lines = series::run("primary", &world, rounds).await;
    report::publish("primary", &lines);
    series::assert_answers(&lines);
    for (_, outcome) in &lines {
        assert!(outcome.losses.lost > 0, "{:?}", outcome.losses);
        assert!(!outcome.misfits.is_empty());
    }
}
