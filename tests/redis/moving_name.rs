//! Tests a name that moves from one server to another: a managed Redis fails over, or a service in Kubernetes. New
//! connections lead to the new server, and open ones stay where they are.

use std::time::{Duration, Instant};

use testkit::{
    broker_process::BrokerProcess,
    link::{Cuts, Link},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    waiting::until,
};
use token_broker::proto::v1::GetRequest;
use tokio::sync::watch;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// How long the broker may take to serve from the new server.
const PROMPT: Duration = Duration::from_secs(2);

/// Returns a name that leads to `server`.
fn name(server: &RedisServer) -> Link {
    let name = Link::new(&watch::Sender::new(Cuts::default()));
    name.lead_to(server.port());
    name
}

/// Makes `server` a replica of `primary`.
fn demote(server: &RedisServer, primary: &RedisServer) {
    let port = primary.port().to_string();
    server
        .ask::<()>(&["REPLICAOF", "127.0.0.1", &port])
        .unwrap();
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
    ];
    let broker = BrokerProcess::start(&args);
    broker.serving().await;
    let mut health = HealthClient::new(broker.connect().await);
    let watched = health.watch(HealthCheckRequest::default()).await;
    let mut states = watched.unwrap().into_inner();
    let mut next = async || states.message().await.unwrap().unwrap().status();
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
        let request = GetRequest {
            session_id: "s".to_owned(),
            provider: "p".to_owned(),
            ..Default::default()
        };
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
        token_broker::store::Health::ready(store).await.unwrap_err();
    }
    // The connections that were open, one look in half a second, and the test's own.
    let dialled = connections(&server) - before;
    assert!(dialled <= 10, "{dialled}");

    // When it is promoted, writes work through the same broker.
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
    until("the broker writes again", async || {
        let request = testkit::broker::request(&key("s", "p"), &row("u", "again"));
        broker.store(request).await.is_ok()
    })
    .await;
}
