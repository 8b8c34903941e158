//! Tests that what Redis holds up or refuses for one request doesn't hold up others.

use std::time::{Duration, Instant};

use testkit::{launch::Launch, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::store::{Health, Store};
use tokio::{task::JoinSet, time::timeout};

use crate::{big_answers::fill, connected};

/// How long reads may take on a machine under load. One that Redis holds up takes 5 s at least: so long the broker waits
/// for an answer before it asks again.
const SHORT: Duration = Duration::from_secs(4);

/// Redis pauses writes before a planned failover, and at a shutdown that waits for replicas. It answers reads meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_while_redis_pauses_writes() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    broker.rows_of(&session("s")).await;

    // Until the test is done with it.
    server
        .ask::<()>(&["CLIENT", "PAUSE", "30000", "WRITE"])
        .unwrap();
    let paused = Instant::now();
    let mut writes = JoinSet::new();
    while paused.elapsed() < Duration::from_millis(2_000) {
        let (writer, store) = (broker.clone(), tenant.store());
        writes.spawn(async move {
            let stored = writer.store(testkit::broker::request(&key("t", "p"), &row("u", "at")));
            _ = timeout(Duration::from_millis(500), stored).await;
        });
        // As health does.
        writes.spawn(async move { _ = timeout(Duration::from_millis(500), store.ready()).await });
        for _ in 0..10 {
            let begun = Instant::now();
            assert!(broker.read(&key("s", "p")).await.is_some());
            assert_eq!(broker.rows_of(&session("s")).await.len(), 1);
            assert!(begun.elapsed() < SHORT, "{:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    writes.join_all().await;
    server.ask::<()>(&["CLIENT", "UNPAUSE"]).unwrap();
    testkit::waiting::until("writes work again", || async {
        tenant.store().ready().await.is_ok()
    })
    .await;
    broker.put(&key("t", "p"), &row("u", "at")).await;
}

/// Redis ends the connection of a client whose answer is larger than its limits allow. Others use that connection too.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_redis_cuts_off_is_not_asked_for_again_and_again() {
    let server = Launch::default()
        .lines(["client-output-buffer-limit normal 1mb 1mb 1"])
        .start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    fill(&broker).await;
    broker.put(&key("small", "p0"), &row("v", "at")).await;
    broker.rows_of(&session("small")).await;
    let received = || {
        let stats: String = server.ask(&["INFO", "stats"]).unwrap();
        let (_, rest) = stats.split_once("total_connections_received:").unwrap();
        rest.split_whitespace()
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    connected(&server, 6).await;
    // The script that reads it the first time fails, too, and learns nothing.
    let before = received();
    let read = broker.backend().get_session(&session("full")).await;
    assert!(read.is_err(), "the limit isn't reached");
    let opened = received() - before;
    assert!(opened < 12, "{opened} connections for one read");
    let other = session("small");
    let small = timeout(Duration::from_secs(10), broker.rows_of(&other));
    assert_eq!(small.await.unwrap().len(), 1);
}
