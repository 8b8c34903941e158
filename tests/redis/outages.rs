//! Tests a Redis that is paused, or killed and restarted. Calls meanwhile fail in time, nothing is
//! half written, and service resumes through the same store.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    broker::{Broker, request, rules},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    waiting::until,
};
use token_broker::{
    error::Error,
    store::FullStore,
    tokens::{Binding, Rules},
    types::{RowKey, Version},
};

/// The store's timeout for a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_millis(150);
/// The delay that a machine under load may add.
const SLACK: Duration = Duration::from_secs(3);

fn broker(tenant: &RedisTenant) -> Broker<impl FullStore + use<>> {
    let rules = Rules {
        // A call may take that much longer.
        patience: Duration::from_secs(1),
        ..rules(tenant.name().clone())
    };
    Broker::new(tenant.store_with(TIMEOUT), rules)
}

/// Calls of each kind, one after the other, and what they fail with.
async fn calls<S: FullStore>(broker: &Broker<S>) -> Vec<(&'static str, Option<Error>)> {
    let (key, all) = (key("s", "p"), Binding::default());
    vec![
        (
            "Store",
            broker.store(request(&key, &row("u", "at"))).await.err(),
        ),
        ("Get", broker.get(&key, &all).await.err()),
        (
            "GetAll",
            broker
                .get_all(&key.session, &all, &Default::default())
                .await
                .err(),
        ),
        ("Delete", broker.delete(&key, None).await.err()),
        ("Delete all", broker.delete_all(&key.session).await.err()),
        ("DeleteUser", broker.delete_user(&user("u")).await.err()),
        (
            "latest",
            broker
                .latest_for_user(&user("u"), &key.provider, &Default::default())
                .await
                .err(),
        ),
        (
            "listing",
            broker
                .list_user_sessions(&user("u"), 0, None, &Default::default())
                .await
                .err(),
        ),
        (
            "ready",
            broker.backend().ready().await.err().map(Error::from),
        ),
    ]
}

/// All of them are unavailable, and none keeps its caller waiting.
async fn calls_fail_in_time<S: FullStore>(broker: &Broker<S>) {
    for round in 0..2 {
        let started = Instant::now();
        let failed = calls(broker).await;
        for (call, error) in &failed {
            let unavailable = matches!(
                error,
                Some(Error::StoreUnavailable(_) | Error::OutcomeUnknown(_))
            );
            assert!(unavailable, "{call} in round {round}: {error:?}");
        }
        // One timeout to connect, and one to wait for an answer.
        let longest = 2 * TIMEOUT * u32::try_from(failed.len()).unwrap() + SLACK;
        assert!(started.elapsed() < longest, "{:?}", started.elapsed());
    }
}

/// A hundred callers at once fail as fast as one.
async fn a_crowd_fails_in_time<S: FullStore>(broker: &Broker<S>) {
    let started = Instant::now();
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let broker = broker.clone();
            tokio::spawn(async move { broker.get(&key("s", "p"), &Binding::default()).await })
        })
        .collect();
    for call in crowd {
        let failed = call.await.unwrap();
        assert!(
            matches!(failed, Err(Error::StoreUnavailable(_))),
            "{failed:?}"
        );
    }
    assert!(
        started.elapsed() < 2 * TIMEOUT + SLACK,
        "{:?}",
        started.elapsed()
    );
}

async fn service_resumes<S: FullStore>(tenant: &RedisTenant, broker: &Broker<S>) {
    let resumed = Instant::now();
    until("the broker serves again", async || {
        let stored = broker.store(request(&key("new", "p"), &row("u", "at")));
        // Large answers have connections of their own, which come back on their own.
        stored.await.is_ok()
            && broker
                .get_all(&session("new"), &Binding::default(), &Default::default())
                .await
                .is_ok()
    })
    .await;
    assert!(
        resumed.elapsed() < Duration::from_secs(10),
        "{:?}",
        resumed.elapsed()
    );
    // Over each of its connections. On a slow machine an answer may take longer than the timeout now and then.
    let (in_a_row, all) = (Cell::new(0), Binding::default());
    until("the broker serves all the time", async || {
        let row = broker.get(&key("new", "p"), &all).await;
        let rows = broker
            .get_all(&session("new"), &all, &Default::default())
            .await;
        let is_served = row.is_ok()
            && rows.is_ok_and(|found| found.rows.len() == 1)
            && broker.backend().ready().await.is_ok();
        in_a_row.set(if is_served { in_a_row.get() + 1 } else { 0 });
        in_a_row.get() == 20
    })
    .await;
    tenant.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_and_resumed() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = broker(&tenant);
    tenant
        .broker()
        .put(&key("s", "p"), &row("u", "before"))
        .await;
    for _ in 0..2 {
        server.pause();
        calls_fail_in_time(&broker).await;
        a_crowd_fails_in_time(&broker).await;
        server.resume();
        service_resumes(&tenant, &broker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = broker(&tenant);
    tenant
        .broker()
        .put(&key("s", "p"), &row("u", "before"))
        .await;
    for _ in 0..2 {
        server.kill();
        calls_fail_in_time(&broker).await;
        a_crowd_fails_in_time(&broker).await;
        server.restart();
        service_resumes(&tenant, &broker).await;
    }
}

/// Redis isn't there when the broker starts, and is started later.
#[tokio::test(flavor = "multi_thread")]
async fn absent_at_first() {
    let server = RedisServer::start();
    server.kill();
    let tenant = RedisTenant::called("absent:first", &server);
    let broker = broker(&tenant);
    calls_fail_in_time(&broker).await;
    server.restart();
    service_resumes(&tenant, &broker).await;
}

/// Redis is killed in the middle of writes, and has a log of what it had done. A write that was
/// answered OK is there. Any other write is there completely or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_writes() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let tenant = RedisTenant::on(&server);
    let broker = broker(&tenant);
    let is_killed = Arc::<AtomicBool>::default();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (broker, is_killed) = (broker.clone(), Arc::clone(&is_killed));
            tokio::spawn(async move {
                let mut answered: Vec<(RowKey, Version)> = Vec::new();
                for number in 0.. {
                    let key = key(&format!("s{writer}-{number}"), "p");
                    let user = format!("u{}", number % 3);
                    match broker.store(request(&key, &row(&user, "at"))).await {
                        Ok(version) => answered.push((key, version)),
                        Err(Error::StoreUnavailable(_) | Error::OutcomeUnknown(_)) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    // A slow disk may make a write fail before.
                    if is_killed.load(Ordering::SeqCst) {
                        break;
                    }
                }
                answered
            })
        })
        .collect();
    until("a few hundred rows are written", async || {
        tenant.run::<usize>(&["DBSIZE"]) > 500
    })
    .await;
    server.kill();
    is_killed.store(true, Ordering::SeqCst);
    let mut answered = Vec::new();
    for writer in writers {
        answered.extend(writer.await.unwrap());
    }
    server.restart();
    service_resumes(&tenant, &broker).await;
    let reader = tenant.broker();
    for (key, version) in answered {
        assert_eq!(
            reader.version(&key).await,
            Some(version),
            "what was answered OK is gone"
        );
    }
}
