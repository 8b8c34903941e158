//! Tests under which address the broker uses the nodes of a cluster, and which nodes it believes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use testkit::{
    broker::request,
    launch::{Launch, Program},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::*,
    waiting::until,
};
use token_broker::{store::Store, tokens::Binding};

use crate::{
    cluster::{cluster, one_node},
    connected,
};

/// An address that leads nowhere.
const NOWHERE: &str = "cluster-announce-ip 192.0.2.7";

/// Returns a tenant on a cluster with these seeds.
fn tenant(server: &RedisServer, seeds: &[&str]) -> RedisTenant {
    let url = format!("redis+cluster://{}", seeds.join(","));
    RedisTenant::on(server)
        .with("redis-url", &url)
        .with("redis-failover-wait", "4s")
}

fn at(host: &str, server: &RedisServer) -> String {
    format!("{host}:{}", server.port())
}

/// Ends the broker's connections, so that it asks the nodes again.
fn disturb(server: &RedisServer) {
    let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
    server.ask::<()>(&kill).unwrap();
}

/// A cluster says where clients should reach its nodes. The addresses that the nodes use among themselves may be
/// unreachable for clients.
#[tokio::test]
async fn the_preferred_endpoint_of_a_node_counts() {
    use Program::{Usual, Valkey};
    tokio::join!(
        is_used(Usual, "hostname"),
        is_used(Usual, "unknown-endpoint"),
        is_used(Valkey, "hostname"),
        is_used(Valkey, "unknown-endpoint"),
    );
}

async fn is_used(program: Program, preferred: &str) {
    let server = one_node(Launch::new(program).lines([
        NOWHERE.to_owned(),
        "cluster-announce-hostname localhost".to_owned(),
        format!("cluster-preferred-endpoint-type {preferred}"),
    ]))
    .await;
    let broker = tenant(&server, &[&at("127.0.0.1", &server)]).broker();
    let stored = broker.store(request(&key("s", "p"), &row("u", "at"))).await;
    stored.unwrap_or_else(|error| panic!("{program:?} {preferred}: {error:?}"));
    assert!(broker.read(&key("s", "p")).await.is_some());
}

/// A node that doesn't name the host of the slot's new node means its own host.
#[tokio::test]
async fn a_slot_moves_to_a_node_at_the_same_host() {
    let server = cluster().await;
    for answer in ["MOVED 1 :", "ASK 1 :"] {
        let error = format!("return redis.error_reply('{answer}{}')", server.port());
        let command = ["EVAL", &error, "0"].map(|arg| arg.as_bytes().to_vec());
        let proxy = RespProxy::start(server.port(), move |sent| {
            let fate = match sent.name().as_str() {
                "GET" => Fate::Replace(command.to_vec()),
                _ => Fate::Forward,
            };
            async { fate }
        })
        .await;
        let port = proxy.port().to_string();
        let tenant = RedisTenant::on_cluster(&server);
        tenant.run::<()>(&["CONFIG", "SET", "cluster-announce-port", &port]);
        let store = tenant.at_port(proxy.port()).store();
        let read = store.get(&key("s", "p")).await;
        assert!(matches!(read, Ok(None)), "{answer}: {read:?}");
    }
}

/// Two seeds may be the same node. When a node names the other spelling, the broker keeps its connections.
#[tokio::test]
async fn two_spellings_of_a_node_are_one_node() {
    let server = cluster().await;
    let moved = Arc::<OnceLock<Vec<Vec<u8>>>>::default();
    let named = Arc::<AtomicUsize>::default();
    let (answer, count) = (Arc::clone(&moved), Arc::clone(&named));
    let proxy = RespProxy::start(server.port(), move |sent| {
        let fate = match answer.get() {
            Some(answer) if sent.name() == "GET" => {
                count.fetch_add(1, Ordering::SeqCst);
                Fate::Replace(answer.clone())
            }
            _ => Fate::Forward,
        };
        async { fate }
    })
    .await;
    let port = proxy.port().to_string();
    let tenant = RedisTenant::on_cluster(&server);
    tenant.run::<()>(&["CONFIG", "SET", "cluster-announce-port", &port]);
    let url = format!("redis+cluster://127.0.0.1:{port},localhost:{port}");
    let tenant = tenant
        .with("redis-url", &url)
        .with("redis-failover-wait", "10s");
    let store = tenant.store();
    store.get(&key("s", "p")).await.unwrap();
    connected(&server, 6).await;

    let connections = || {
        let info: String = server.ask(&["INFO", "stats"]).unwrap();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().trim().parse::<u32>().unwrap()
    };
    let before = connections();
    let error = format!(
        "local n = redis.call('INCR', 'turn') return redis.error_reply('MOVED 1 ' .. \
         (n % 2 == 0 and 'localhost' or '127.0.0.1') .. ':{port}')"
    );
    moved
        .set(
            ["EVAL", &error, "0"]
                .map(|arg| arg.as_bytes().to_vec())
                .into(),
        )
        .unwrap();
    let at = key("s", "p");
    tokio::select! {
        read = store.get(&at) => panic!("nobody has the row: {read:?}"),
        () = until("both spellings are named again and again", async || {
            named.load(Ordering::SeqCst) > 4
        }) => {}
    }
    // One connection is the test's own.
    assert_eq!(connections() - before, 1);
}

/// A server that left the cluster, and has the slots of another cluster with a newer epoch.
fn make_another_cluster(server: &RedisServer) {
    let epoch = ["CLUSTER", "SET-CONFIG-EPOCH", "99"];
    server.ask::<()>(&epoch).unwrap();
}

/// A seed may belong to another cluster by now. Its epochs say nothing about the broker's cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_seed_of_another_cluster_is_not_believed() {
    let (ours, stranger) = tokio::join!(cluster(), cluster());
    make_another_cluster(&stranger);
    let seeds = [at("127.0.0.1", &ours), at("127.0.0.1", &stranger)];
    let tenant = tenant(&ours, &[&seeds[0], &seeds[1]]);
    let before = RedisTenant::called(&tenant.name().to_string(), &ours);
    let direct = before.with("redis-url", &format!("redis+cluster://{}", seeds[0]));
    direct.broker().put(&key("s", "p"), &row("u", "at")).await;

    // From the start.
    let broker = tenant.broker();
    assert!(broker.read(&key("s", "p")).await.is_some());
    // It comes back while the broker runs.
    stranger.kill();
    let broker = tenant.broker();
    assert!(broker.read(&key("s", "p")).await.is_some());
    stranger.restart();
    for _ in 0..5 {
        disturb(&ours);
        for _ in 0..20 {
            assert!(broker.read(&key("s", "p")).await.is_some());
        }
    }
    // It isn't believed either while the broker's cluster is away.
    ours.kill();
    let all = Binding::default();
    let read = broker.get(&key("s", "p"), &all).await;
    let unavailable = matches!(read, Err(token_broker::error::Error::StoreUnavailable(_)));
    assert!(unavailable, "{read:?}");
    ours.restart();
    until("the cluster is back", async || {
        let read = broker.get(&key("s", "p"), &all).await;
        matches!(read, Err(token_broker::error::Error::RowNotFound))
    })
    .await;
}
