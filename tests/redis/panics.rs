//! Tests that what the link to Redis does in the background goes on after a panic. Each control is the task without
//! [`upheld`](token_broker::upheld): its test then waits in vain.

use std::time::Duration;

use futures_util::FutureExt;
use testkit::{
    broker::request, launch::Launch, panicking_log::PanickingLog, redis_server::RedisServer,
    redis_tenant::RedisTenant, rows::*, sentinel::MASTER, waiting::until,
};
use token_broker::store::{Health, Store};
use tokio::time::timeout;

use crate::{
    cluster::cluster,
    moving_name::{demote, name},
};

/// Returns how often a node was asked for all nodes.
fn asked(server: &RedisServer) -> u64 {
    let info: String = server.ask(&["INFO", "commandstats"]).unwrap();
    let calls = info.split_once("cmdstat_cluster|nodes:calls=");
    let calls = calls.and_then(|(_, calls)| calls.split_once(',')?.0.parse().ok());
    calls.unwrap_or_default()
}

#[tokio::test]
async fn a_connection_is_kept_open() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server).with("redis-connections", "1");
    let store = tenant.store();
    // Each of the four kinds of requests has a connection.
    let log = PanickingLog::at("connections to Redis end soon", 4);
    until("each task panics", async || {
        _ = timeout(Duration::from_millis(1), store.get(&key("s", "p"))).await;
        server.ask::<()>(&["CLIENT", "KILL", "TYPE", "normal"]).ok();
        log.panics() == 4
    })
    .await;
    until("the broker reads again", async || {
        store.get(&key("s", "p")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_sentinel_is_asked() {
    let [first, second] = [RedisServer::start(), RedisServer::start()];
    let watched = |server: &RedisServer| format!("{MASTER} 127.0.0.1 {} 1", server.port());
    let sentinel = Launch::default().sentinel();
    let sentinel = sentinel.lines([format!("sentinel monitor {}", watched(&first))]);
    let sentinel = sentinel.start();
    let url = format!("redis+sentinel://127.0.0.1:{}/{MASTER}", sentinel.port());
    let broker = RedisTenant::on(&first).with("redis-url", &url).broker();
    let log = PanickingLog::at("the sentinels name the primary", 1);
    broker.put(&key("s", "p"), &row("u", "at")).await;
    assert_eq!(log.panics(), 1, "of the only task that asks");
    sentinel.ask::<()>(&["SENTINEL", "REMOVE", MASTER]).unwrap();
    let monitor = format!("SENTINEL MONITOR {}", watched(&second));
    let monitor: Vec<_> = monitor.split(' ').collect();
    sentinel.ask::<()>(&monitor).unwrap();
    until("the broker learns of another primary", async || {
        let stored = broker.store(request(&key("s", "p"), &row("u", "at"))).await;
        stored.is_ok() && second.ask::<u64>(&["DBSIZE"]).unwrap() > 0
    })
    .await;
}

#[tokio::test]
async fn the_nodes_of_a_cluster_are_asked() {
    let server = cluster().await;
    let store = RedisTenant::on_cluster(&server).store();
    let log = PanickingLog::at("this node of the cluster is a primary", 1);
    // The caller leaves before a node can answer it, and the task asks.
    let get = store.get(&key("s", "p")).now_or_never();
    assert!(get.is_none(), "without a node's answer");
    until("the task panics", async || log.panics() == 1).await;
    let before = asked(&server);
    until("it asks again", async || asked(&server) > before).await;
}

#[tokio::test]
async fn a_name_is_followed() {
    let [first, second] = [RedisServer::start(), RedisServer::start()];
    let name = name(&first);
    let url = format!("redis://127.0.0.1:{}", name.port());
    let store = RedisTenant::on(&first).with("redis-url", &url).store();
    store.ready().await.unwrap();
    let log = PanickingLog::at("its name leads to a primary now", 1);
    let follows = async |from: &RedisServer, to: &RedisServer| {
        to.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
        demote(from, to);
        name.lead_to(to.port());
        until("the broker follows", async || store.ready().await.is_ok()).await;
    };
    follows(&first, &second).await;
    assert_eq!(log.panics(), 1);
    follows(&second, &first).await;
}
