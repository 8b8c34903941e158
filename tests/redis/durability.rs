//! `durability = "replicated"` (contract section 4.2).

use std::time::{Duration, Instant};

use token_broker::{error::Error, tokens::Binding};

use crate::support::{
    broker::{Broker, request},
    broker_process::BrokerProcess,
    deployment::Deployment,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    waiting::until,
};

/// A primary and a replica that follows it.
async fn pair() -> (RedisServer, RedisServer) {
    let primary = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let replica =
        RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    until("the replica follows", async || {
        let info: String = replica.ask(&["INFO", "replication"]).unwrap();
        info.contains("master_link_status:up")
    })
    .await;
    (primary, replica)
}

fn replicated(server: &impl Deployment, timeout: &str) -> RedisTenant {
    RedisTenant::on(server)
        .with("durability", "replicated")
        .with("durability-timeout", timeout)
}

/// The calls that change something.
async fn writes<S: token_broker::store::Store>(
    broker: &Broker<S>,
) -> Vec<(&'static str, Option<Error>)> {
    let key = key("s", "p");
    vec![
        (
            "Store",
            broker.store(request(&key, &row("u", "at"))).await.err(),
        ),
        ("Delete", broker.delete(&key, None).await.err()),
        // There is nothing left to delete, and that is told only when replicas know it.
        ("Delete again", broker.delete(&key, None).await.err()),
        ("Delete all", broker.delete_all(&key.session).await.err()),
        ("DeleteUser", broker.delete_user(&user("u")).await.err()),
    ]
}

#[tokio::test]
async fn a_write_counts_when_a_replica_has_it() {
    let (primary, replica) = pair().await;
    let tenant = replicated(&primary, "10s");
    let broker = tenant.broker();
    for _ in 0..50 {
        broker.put(&key("s", "p"), &row("u", "at")).await;
        let stored = tenant.key("upstream:s:p");
        assert!(
            replica.ask::<bool>(&["EXISTS", &stored]).unwrap(),
            "the replica has it"
        );
        assert!(broker.remove(&key("s", "p")).await);
        assert!(
            !replica.ask::<bool>(&["EXISTS", &stored]).unwrap(),
            "and has it no more"
        );
    }
    for (call, error) in writes(&broker).await {
        assert!(error.is_none(), "{call}: {error:?}");
    }
}

/// The control: where nobody waits, the replica is behind at times, and a write counts without any.
#[tokio::test]
async fn without_it_a_write_counts_without_a_replica() {
    let (primary, replica) = pair().await;
    replica.pause();
    let broker = RedisTenant::on(&primary).broker();
    for (call, error) in writes(&broker).await {
        assert!(error.is_none(), "{call}: {error:?}");
    }
    replica.resume();
}

#[tokio::test]
async fn a_write_that_no_replica_confirms_is_not_durable() {
    let (primary, replica) = pair().await;
    let tenant = replicated(&primary, "300ms");
    let broker = tenant.broker();
    replica.pause();
    let begun = Instant::now();
    for (call, error) in writes(&broker).await {
        assert!(
            matches!(error, Some(Error::NotDurable(_))),
            "{call}: {error:?}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    // Reads go on.
    let all = Binding::default();
    assert!(
        broker
            .get(&key("u", "p"), &all)
            .await
            .is_err_and(|e| matches!(e, Error::RowNotFound))
    );
    replica.resume();
    until("writes count again", async || {
        broker
            .store(request(&key("s", "p"), &row("u", "at")))
            .await
            .is_ok()
    })
    .await;
}

/// A caller that goes away leaves no connection behind that blocks the next.
#[tokio::test]
async fn a_caller_that_gives_up_blocks_nobody() {
    let (primary, replica) = pair().await;
    let tenant = replicated(&primary, "20s").with("durability-connections", "1");
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    replica.pause();
    let (key, row) = (key("s", "p"), row("u", "at"));
    let gives_up = broker.store(request(&key, &row));
    tokio::time::timeout(Duration::from_millis(100), gives_up)
        .await
        .unwrap_err();
    replica.resume();
    let begun = Instant::now();
    broker.put(&key, &row).await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

/// Operators are told what would make `replicated` of little use.
#[tokio::test]
async fn the_start_warns_of_what_is_missing() {
    let lonely = RedisServer::start();
    let url = lonely.url();
    let args = [
        "--backend",
        "redis",
        "--redis-url",
        &url,
        "--durability",
        "replicated",
    ];
    let broker = BrokerProcess::start(&args);
    until("it warns", async || {
        let log = broker.log();
        log.contains("too few replicas") && log.contains("min-replicas-to-write isn't set")
    })
    .await;

    let (primary, _replica) = pair().await;
    primary
        .ask::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .unwrap();
    let url = primary.url();
    let args = [
        "--backend",
        "redis",
        "--redis-url",
        &url,
        "--durability",
        "replicated",
    ];
    let broker = BrokerProcess::start(&args);
    broker.serving().await;
    assert!(!broker.log().contains("replicas"), "{}", broker.log());
}
