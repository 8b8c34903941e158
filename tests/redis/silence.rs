//! Tests connections over which nothing comes any more, although they are open. The broker notices however short
//! its callers' deadlines are, and so does health.

use std::time::{Duration, Instant};

use testkit::{
    broker::{Broker, rules},
    broker_process::BrokerProcess,
    half_open::HalfOpen,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
};
use token_broker::{
    store::FullStore,
    tokens::{Binding, Precondition},
};
use tokio::task::JoinSet;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::connected;

/// `redis-timeout` and a quarter of it, and the delay that a machine under load may add. A broker that doesn't watch
/// its connections never notices.
const NOTICED: Duration = Duration::from_millis(1_250 + 13_750);
/// How many calls in a row have to succeed.
const CALM: u32 = 40;

/// Calls `Get` again and again, each with this deadline, until no call fails any more.
async fn served_again<S: FullStore>(broker: &Broker<S>, deadline: Duration) {
    let (key, all) = (key("s", "p"), Binding::default());
    let mut succeeded = 0;
    while succeeded < CALM {
        match tokio::time::timeout(deadline, broker.get(&key, &all)).await {
            Ok(Ok(_)) => succeeded += 1,
            _ => succeeded = 0,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_caller_survives(server: &RedisServer, deadline: Duration) {
    let tenant = RedisTenant::on(server);
    let proxy = HalfOpen::start(server.port()).await;
    let store = tenant
        .at_port(proxy.port())
        .store_with(Duration::from_secs(1));
    let broker = Broker::new(store, rules(tenant.name().clone()));
    broker.put(&key("s", "p"), &row("u", "at")).await;
    served_again(&broker, deadline).await;

    let frozen = proxy.freeze(usize::MAX);
    assert!(frozen > 0);
    let begun = Instant::now();
    let again = tokio::time::timeout(NOTICED, served_again(&broker, deadline));
    let in_time = again.await.is_ok();
    assert!(in_time, "not within {NOTICED:?} with {deadline:?}");
    eprintln!("{deadline:?}: served again after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_replaced_whatever_the_deadlines_of_callers() {
    let server = RedisServer::start();
    tokio::join!(
        a_caller_survives(&server, Duration::from_millis(200)),
        a_caller_survives(&server, Duration::from_millis(500)),
        a_caller_survives(&server, Duration::from_secs(5)),
    );
}

/// One of the connections is half open. The others work, so the broker stays SERVING all the time.
#[tokio::test(flavor = "multi_thread")]
async fn health_does_not_flap_because_of_one_half_open_connection() {
    // On a busy machine Redis may not answer in time, but hardly twice.
    let Err(first) = stays_serving().await else {
        return;
    };
    if let Err(second) = stays_serving().await {
        panic!("{first}\n{second}");
    }
}

/// Returns what becomes of a broker's health when one of its connections becomes half open.
async fn stays_serving() -> Result<(), String> {
    let server = RedisServer::start();
    let proxy = HalfOpen::start(server.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let broker = BrokerProcess::on_redis(&url);
    let mut health = HealthClient::new(broker.connect().await);
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    // The start has connections of its own, which have ended by now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(proxy.freeze(1), 1);
    let change = tokio::time::timeout(Duration::from_secs(4), watch.message()).await;
    match change {
        Ok(change) => Err(format!("{change:?}; {}", broker.log())),
        Err(_) => Ok(()),
    }
}

/// A server that works for long before it answers isn't taken for a dead one: what was sent to it before is
/// answered, over the same connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_keeps_its_connections() {
    let server = RedisServer::start();
    let proxy = HalfOpen::start(server.port()).await;
    let tenant = RedisTenant::on(&server).at_port(proxy.port());
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    connected(&server, 6).await;
    served_again(&broker, Duration::from_secs(5)).await;
    let before = proxy.accepted();
    server.pause();
    let call = tokio::spawn({
        let broker = broker.clone();
        async move { broker.get(&key("s", "p"), &Binding::default()).await }
    });
    // Longer than until a connection is in doubt, and not as long as until it is given up.
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.resume();
    assert!(call.await.unwrap().is_ok());
    served_again(&broker, Duration::from_secs(5)).await;
    assert_eq!(proxy.accepted(), before, "no connection was replaced");
}

/// With a single server and the usual settings, the first attempt takes as long as a call waits for a connection. Whoever
/// has more time gets another attempt.
#[tokio::test(flavor = "multi_thread")]
async fn what_went_over_a_silent_connection_is_sent_again() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let proxy = HalfOpen::start(server.port()).await;
    let broker = tenant.at_port(proxy.port()).broker();
    let (key, all) = (key("s", "p"), Binding::default());
    let version = broker.put(&key, &row("u", "at")).await;
    served_again(&broker, Duration::from_secs(5)).await;

    assert!(proxy.freeze(usize::MAX) > 0);
    let reads: JoinSet<_> = (0..20)
        .map(|_| {
            let (broker, key, all) = (broker.clone(), key.clone(), all.clone());
            async move { broker.get(&key, &all).await.map(drop) }
        })
        .collect();
    let newer = row("u", "newer");
    let (written, read) = tokio::join!(
        broker.put_if(&key, &newer, Precondition::Version(version)),
        reads.join_all(),
    );
    assert!(written.is_ok(), "{written:?}");
    assert!(read.iter().all(Result::is_ok), "{read:?}");
}
