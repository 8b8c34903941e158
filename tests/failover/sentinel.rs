//! Tests failovers by Sentinel.

use crate::{
    TURN,
    fault::Fault,
    report,
    series::{self, Rounds},
    setup::Setup,
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_replicated() {
    let _turn = TURN.lock().await;
    let setup = Setup::start("replicated", &[]).await;
    let rounds = Rounds {
        few: [2, 1, 1, 1],
        all: [10, 5, 5, 3],
    };
    let lines = series::run("replicated", &setup, rounds).await;
    report::publish("replicated", &lines);
    series::assert_nothing_lost(&lines);
    series::assert_answers(&lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_where_a_primary_without_replicas_takes_no_writes() {
    let _turn = TURN.lock().await;
    let server = ["min-replicas-to-write 1", "min-replicas-max-lag 1"];
    let setup = Setup::start("replicated", &server).await;
    let rounds = Rounds {
        few: [1, 1, 0, 0],
        all: [10, 5, 5, 3],
    };
    let lines = series::run("min-replicas", &setup, rounds).await;
    report::publish("min-replicas", &lines);
    series::assert_nothing_lost(&lines);
    series::assert_answers(&lines);
}

/// The control: without waiting for a replica, the same partitions lose writes, and the same checker detects it.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_are_lost_when_they_are_not_replicated() {
    let _turn = TURN.lock().await;
    let setup = Setup::start("primary", &[]).await;
    let rounds = Rounds {
        few: [2, 0, 0, 0],
        all: [10, 0, 0, 0],
    };
    let lines = series::run("primary", &setup, rounds).await;
    report::publish("primary", &lines);
    series::assert_answers(&lines);
    for (_, outcome) in &lines {
        assert!(outcome.losses.lost > 0, "{:?}", outcome.losses);
        assert!(!outcome.misfits.is_empty());
    }
}

/// The control for reads: the checker detects a broker that doesn't follow the sentinels and keeps reading from a
/// demoted primary. No write is lost, because no replica confirms what is written there.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_follow_is_found_out() {
    let _turn = TURN.lock().await;
    let setup = Setup::with_one_that_does_not_follow("replicated").await;
    let outcome = setup.round("fixed", Fault::Partition).await;
    assert!(!outcome.misfits.is_empty());
    assert_eq!(outcome.losses.all(), 0, "{:?}", outcome.losses);
}
