//! Tests a name that moves from one server to another: a managed Redis fails over, or a service in Kubernetes. New
//! connections lead to the new server, and open ones stay where they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    broker::request,
    broker_process::BrokerProcess,
    link::{Cuts, Link},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    requests::get_request,
    rows::*,
    waiting::until,
};
use token_broker::store::Health;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{clients, connected};

/// How long the broker may take to serve from the new server, on a machine under load.
const PROMPT: Duration = Duration::from_secs(10);
/// How long the test waits for what may take as long as it likes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a name that leads to `server`.
pub fn name(server: &RedisServer) -> Link {
    let name = Link::new(&watch::Sender::new(Cuts::default()));
    name.lead_to(server.port());
    name
}

/// Makes `server` a replica of `primary`.
pub fn demote(server: &RedisServer, primary: &RedisServer) {
    let port = primary.port().to_string();
    server
        .ask::<()>(&["REPLICAOF", "127.0.0.1", &port])
        .unwrap();
}

/// Returns how many keys the server has.
fn keys(server: &RedisServer) -> usize {
    server.ask(&["DBSIZE"]).unwrap()
}

fn connections(server: &RedisServer) -> u32 {
    let info: String = server.ask(&["INFO", "stats"]).unwrap();
    let mut lines = info.lines();
    let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    count.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_moves_is_followed_by_reads_alone() {
    let [old, new] = [RedisServer::start(), RedisServer::start()];
    let name = name(&old);
    let tenant = RedisTenant::on(&new);
    let url = format!("redis://127.0.0.1:{}", name.port());
    let tenant_name = tenant.name().to_string();
    let args = [
        "--backend",
        "redis",
        "--redis-url",
        &url,
        "--tenant",
        &tenant_name,
        // A busy machine doesn't change the broker's health.
        "--redis-timeout",
        "5s",
    ];
    let broker = BrokerProcess::start(&args);
    broker.serving().await;
    let mut health = HealthClient::new(broker.connect().await);
    let watched = health.watch(HealthCheckRequest::default()).await;
    let mut states = watched.unwrap().into_inner();
    let mut next = async || {
        let state = timeout(PATIENCE, states.message()).await;
        state.expect("another state").unwrap().unwrap().status()
    };
    assert_eq!(next().await, ServingStatus::Serving);

    // The name moves a while after the failover.
    demote(&old, &new);
    assert_eq!(next().await, ServingStatus::NotServing);
    tenant.broker().put(&key("s", "p"), &row("u", "new")).await;
    name.lead_to(new.port());
    let moved = Instant::now();
    assert_eq!(next().await, ServingStatus::Serving);
    assert!(moved.elapsed() < PROMPT, "{:?}", moved.elapsed());
    let mut client = broker.client().await;
    // More reads than there are connections: none leads to the old server, which has gone its own way.
    old.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
    old.ask::<()>(&["FLUSHALL"]).unwrap();
    for _ in 0..10 {
        let request = get_request("s", "p");
        let entry = client.get(request).await.unwrap().into_inner().entry;
        assert_eq!(entry.unwrap().tokens.unwrap().access_token, "new");
    }
}

/// Where the only server is a replica and stays one, reads go on over the same connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stays_one_is_not_dialled_for_each_request() {
    let [server, primary] = [RedisServer::start(), RedisServer::start()];
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    connected(&server, 6).await;
    demote(&server, &primary);
    let store = broker.backend();
    let before = connections(&server);
    let begun = Instant::now();
    // As many writes as fail in a second, with reads and questions about health between them.
    while begun.elapsed() < Duration::from_secs(1) {
        let refused = broker.delete(&key("t", "p"), None).await;
        assert!(refused.is_err(), "{refused:?}");
        let read = broker.get(&key("s", "p"), &Default::default()).await;
        let unavailable = matches!(read, Err(token_broker::error::Error::StoreUnavailable(_)));
        assert!(!unavailable, "{read:?}");
        store.ready().await.unwrap_err();
    }
    // The connections that were open, one look in half a second, and the test's own.
    let dialled = connections(&server) - before;
    let looks = u32::try_from(begun.elapsed().as_millis() / 500).unwrap();
    assert!(dialled <= 6 + looks + 2, "{dialled}, {looks} looks");

    // When it is promoted, writes work through the same broker.
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
    until("the broker writes again", async || {
        let request = request(&key("s", "p"), &row("u", "again"));
        broker.store(request).await.is_ok()
    })
    .await;
}

/// The last server doesn't know that another one took over, and goes on as a primary.
#[tokio::test(flavor = "multi_thread")]
async fn when_one_connection_follows_a_name_all_do() {
    let [old, new] = [RedisServer::start(), RedisServer::start()];
    let name = name(&old);
    let url = format!("redis://127.0.0.1:{}", name.port());
    let tenant = RedisTenant::on(&old).with("redis-url", &url);
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    connected(&old, 6).await;

    name.lead_to(new.port());
    let open = clients(&old);
    old.ask::<()>(&["CLIENT", "KILL", "ID", &open[0]]).unwrap();
    // The health service asks all the time.
    until("the broker follows", async || {
        broker.backend().ready().await.is_ok() && !clients(&new).is_empty()
    })
    .await;
    let followed = Instant::now();
    until("no connection leads to the old server", async || {
        _ = broker.backend().ready().await;
        clients(&old).is_empty()
    })
    .await;
    assert!(followed.elapsed() < PROMPT, "{:?}", followed.elapsed());
    let before = keys(&old);
    for id in 0..20 {
        let key = key(&format!("t{id}"), "p");
        broker.put(&key, &row("u", "new")).await;
        assert!(broker.read(&key).await.is_some(), "{id}");
    }
    assert_eq!(keys(&old), before, "nothing more is written there");
}

/// Two primaries behind one address are a mistake of whoever set them up. The broker settles for one of them.
#[tokio::test(flavor = "multi_thread")]
async fn two_primaries_behind_one_address_are_not_used_at_once() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let ports = servers.each_ref().map(RedisServer::port);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let dials = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&dials);
    let _balancer = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let turn = count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", ports[turn % 2])).await;
                copy_bidirectional(&mut client, &mut server.unwrap()).await
            });
        }
    });
    let tenant = RedisTenant::on(&servers[0]).with("redis-url", &url);
    let broker = tenant.broker();
    let connected = || {
        let open = servers.each_ref().map(|server| clients(server).len());
        [[6, 0], [0, 6]].contains(&open)
    };
    until("all connections lead to one server", async || {
        _ = broker.backend().ready().await;
        connected()
    })
    .await;
    let dialled = dials.load(Ordering::SeqCst);
    assert!(dialled < 100, "{dialled}");
    for id in 0..20 {
        let key = key(&format!("t{id}"), "p");
        broker.put(&key, &row("u", "at")).await;
        assert!(broker.read(&key).await.is_some(), "{id}");
    }
    assert_eq!(dials.load(Ordering::SeqCst), dialled, "it stays there");
}

/// A server that was restarted is another process, and the connections to the last one are gone anyway.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_is_used_at_once() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        server.kill();
        server.restart();
        let restarted = Instant::now();
        until("the broker serves again", async || {
            broker
                .store(request(&key("s", "p"), &row("u", "at")))
                .await
                .is_ok()
        })
        .await;
        fastest = fastest.min(restarted.elapsed());
        connected(&server, 6).await;
    }
    // A slow machine may hold up one of them.
    assert!(fastest < Duration::from_millis(700), "{fastest:?}");
}
