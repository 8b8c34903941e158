//! Tests that big answers don't stand in the way of small ones, also when their callers have left.

use std::time::{Duration, Instant};

use testkit::{broker::Broker, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::{
    store::{Store, redis::RedisStore},
    tokens::Binding,
};
use tokio::task::JoinSet;

/// How many reads of a full session begin in a second.
const PER_SECOND: u32 = 320;
/// A small read that takes longer meanwhile is slow, also on a machine under load.
const SMALL: Duration = Duration::from_millis(400);

/// Gives the session `full` as many rows as a session may have, each nearly as large as a row may be.
pub async fn fill<S: Store>(broker: &Broker<S>) {
    let large = "x".repeat(28 << 10);
    for provider in 0..64 {
        let mut row = row("u", &large);
        row.refresh_token = secret(&large);
        broker
            .put(&key("full", &format!("p{provider}")), &row)
            .await;
    }
}

/// Callers ask for full sessions and leave at once. Redis does that work as slowly as it can, and other callers'
/// small reads go past it.
#[tokio::test(flavor = "multi_thread")]
async fn small_reads_go_past_big_ones_whose_callers_left() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    fill(&broker).await;
    broker.put(&key("small", "p"), &row("u", "at")).await;

    // A slow machine may hold up some reads in one round. Behind big ones, reads are slow most of the time in each.
    let mut rounds = Vec::new();
    while rounds.len() < 3 && rounds.last().is_none_or(|slow| *slow >= 0.25) {
        rounds.push(slow_share(&broker).await);
    }
    assert!(*rounds.last().unwrap() < 0.25, "{rounds:?}");
    assert!(broker.rows_of(&session("full")).await.len() == 64);
}

/// Returns in which part of the time small reads are slow while others ask for full sessions.
async fn slow_share(broker: &Broker<RedisStore>) -> f64 {
    let flooding = tokio::spawn({
        let broker = broker.clone();
        async move {
            let mut calls = JoinSet::new();
            let mut tick = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
            for _ in 0..2 * PER_SECOND {
                tick.tick().await;
                let broker = broker.clone();
                calls.spawn(async move {
                    let session = session("full");
                    let call = broker.backend().get_session(&session);
                    _ = tokio::time::timeout(Duration::from_millis(2), call).await;
                });
            }
        }
    });
    let started = Instant::now();
    let (mut longest, mut slow, mut calls) = (Duration::ZERO, Duration::ZERO, 0);
    while !flooding.is_finished() {
        let begun = Instant::now();
        let small = broker.get(&key("small", "p"), &Binding::default()).await;
        assert!(small.is_ok(), "{small:?} after {calls} calls");
        let took = begun.elapsed();
        longest = longest.max(took);
        if took > SMALL {
            slow += took;
        }
        calls += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eprintln!("{calls} small reads, the longest took {longest:?}");
    slow.as_secs_f64() / started.elapsed().as_secs_f64()
}

/// Callers who leave don't make room for others: Redis never has more to do at once than it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_big_read_whose_caller_left_counts_until_redis_has_answered() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let store = tenant.store_with(Duration::from_secs(5));
    let asked = session("s");
    tenant.broker().put(&key("s", "p"), &row("u", "at")).await;
    // The first read learns which providers there are.
    store.get_session(&asked).await.unwrap();
    server.ask::<()>(&["CONFIG", "RESETSTAT"]).unwrap();

    server.pause();
    let mut callers = JoinSet::new();
    for _ in 0..200 {
        let (store, asked) = (store.clone(), asked.clone());
        callers.spawn(async move {
            let call = store.get_session(&asked);
            tokio::time::timeout(Duration::from_millis(20), call).await
        });
    }
    while let Some(caller) = callers.join_next().await {
        assert!(caller.unwrap().is_err(), "a paused Redis answers nothing");
    }
    server.resume();
    // This one waits until the others are answered.
    store.get_session(&asked).await.unwrap();
    let stats: String = server.ask(&["INFO", "commandstats"]).unwrap();
    let (_, calls) = stats.split_once("cmdstat_exec:calls=").unwrap();
    let calls: u32 = calls.split(',').next().unwrap().parse().unwrap();
    assert!(
        (2..=9).contains(&calls),
        "{calls} of 201 reads reached Redis"
    );
}
