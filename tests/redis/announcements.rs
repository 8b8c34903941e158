//! Tests that brokers hear of attempts that end elsewhere, and what becomes of it if Redis doesn't let them.

use std::time::Duration;

use testkit::{
    broker_process::BrokerProcess, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*,
    waiting::until,
};
use token_broker::{
    store::{Change, Records, Store, redis::RedisStore},
    types::{AttemptId, RowKey},
};
use tokio::time::timeout;

/// How long it may take until somebody who waits is told.
const SOON: Duration = Duration::from_secs(20);

/// Tells the end of an attempt.
async fn tell(store: &RedisStore, key: &RowKey, attempt: AttemptId) {
    let seen = store.look(key).await.unwrap();
    let change = Change {
        record: &seen.record,
        row: None,
        ends: Some(attempt),
    };
    assert!(store.change(key, &seen, change).await.unwrap());
}

/// Whoever waits is woken when the connection is there again, and hears what is told from then on.
#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let (teller, hearer, key) = (tenant.store(), tenant.store(), key("s", "p"));
    // The first one is woken by the connection.
    hearer.ended(AttemptId::random()).await;
    let subscribers = || -> Vec<(String, u32)> {
        let channel = tenant.key("broker:ended");
        tenant.run(&["PUBSUB", "NUMSUB", &channel])
    };
    assert_eq!(subscribers()[0].1, 1, "one connection a process");
    let waiting = timeout(SOON, hearer.ended(AttemptId::random()));
    tenant.run::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    waiting.await.unwrap();
    let attempt = AttemptId::random();
    let waiting = timeout(SOON, hearer.ended(attempt));
    tell(&teller, &key, attempt).await;
    waiting.await.unwrap();
}

/// The start tells of a right that is missing: nobody else would.
#[tokio::test]
async fn the_start_warns_if_nothing_can_be_announced() {
    let server = RedisServer::start();
    for (right, warns) in [
        ("+publish", false),
        ("-publish", true),
        ("resetchannels", true),
    ] {
        let rights = [
            "ACL",
            "SETUSER",
            "default",
            "allchannels",
            "+publish",
            right,
        ];
        server.ask::<()>(&rights).unwrap();
        let broker = BrokerProcess::on_redis(&server.url());
        broker.serving().await;
        let log = broker.ended().await.log;
        assert_eq!(
            log.contains("Redis refuses PUBLISH"),
            warns,
            "{right}: {log}"
        );
    }
}

/// Without the rights, everything else works.
#[tokio::test]
async fn without_the_rights_nobody_hears_and_all_else_works() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    tenant.run::<()>(&["ACL", "SETUSER", "default", "-publish", "-subscribe"]);
    let (teller, hearer, key) = (tenant.store(), tenant.store(), key("s", "p"));
    let attempt = AttemptId::random();
    drop(hearer.ended(AttemptId::random()));
    let waiting = tokio::spawn(hearer.ended(attempt));
    tell(&teller, &key, attempt).await;
    until("it is refused", async || {
        subscribed(&tenant, "rejected_calls") >= 1
    })
    .await;
    waiting.abort();
    assert!(teller.get(&key).await.unwrap().is_none());
}

/// A refusal isn't for good: when there is more to listen to, Redis is asked again for what it refused.
#[tokio::test]
async fn a_refusal_is_taken_back() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let redis = tenant.redis();
    let listeners = |tenant: &RedisTenant| -> u32 {
        let channel = tenant.key("broker:ended");
        let told: Vec<(String, u32)> = tenant.run(&["PUBSUB", "NUMSUB", &channel]);
        told[0].1
    };
    let listen = |tenant: &RedisTenant| {
        let store = redis.tenant(tenant.name());
        drop(store.ended(AttemptId::random()));
    };

    tenant.run::<()>(&["ACL", "SETUSER", "default", "-subscribe"]);
    listen(&tenant);
    until("it is refused", async || {
        subscribed(&tenant, "rejected_calls") >= 1
    })
    .await;
    tenant.run::<()>(&["ACL", "SETUSER", "default", "+subscribe"]);
    let other = tenant.another();
    listen(&other);
    until("both are heard", async || {
        listeners(&tenant) == 1 && listeners(&other) == 1
    })
    .await;

    // From then on it is as if nothing had been refused: to ask for each channel shows whether the connection works.
    let before = subscribed(&tenant, "calls");
    let third = tenant.another();
    listen(&third);
    until("all are asked for", async || {
        subscribed(&tenant, "calls") - before >= 3
    })
    .await;
}

/// Returns what Redis has counted of SUBSCRIBE.
fn subscribed(tenant: &RedisTenant, figure: &str) -> u32 {
    let stats: String = tenant.run(&["INFO", "commandstats"]);
    let mut lines = stats.lines();
    let line = lines.find_map(|line| line.strip_prefix("cmdstat_subscribe:"));
    let mut figures = line.into_iter().flat_map(|line| line.split(','));
    let found = figures.find_map(|found| found.strip_prefix(figure)?.strip_prefix('='));
    found.map_or(0, |found| found.parse().unwrap())
}
