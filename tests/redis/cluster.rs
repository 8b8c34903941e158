//! Tests that every call stays in one slot on a Redis Cluster: no call is answered `CROSSSLOT`.

use testkit::{
    launch::Launch, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*, waiting::until,
};
use token_broker::types::Row;

/// Starts a cluster of one node, which owns all slots. It checks the slots of every command.
pub async fn cluster() -> RedisServer {
    one_node(Launch::default()).await
}

/// Starts a cluster of one node that is configured in this way.
pub async fn one_node(launch: Launch) -> RedisServer {
    // The usual port for other nodes is 10,000 above the server's, where somebody else may be.
    let server = launch
        .lines(["cluster-enabled yes", "cluster-port {second}"])
        .start();
    let mut raw = server.raw();
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("ADDSLOTS").arg((0..16_384).collect::<Vec<u32>>());
    slots.exec(&mut raw).unwrap();
    until("the cluster is up", async || {
        let info: String = redis::cmd("CLUSTER")
            .arg("INFO")
            .query(&mut server.raw())
            .unwrap();
        info.contains("cluster_state:ok")
    })
    .await;
    server
}

#[tokio::test]
async fn i10_no_call_crosses_slots() {
    let server = cluster().await;
    let tenant = RedisTenant::on_cluster(&server);
    let (broker, other) = (tenant.broker(), tenant.another());
    let crossing: redis::RedisResult<()> = redis::cmd("MGET")
        .arg(tenant.key("x"))
        .arg(other.key("x"))
        .query(&mut server.raw());
    assert_eq!(
        crossing.unwrap_err().code(),
        Some("CROSSSLOT"),
        "the cluster checks slots"
    );

    for index in ["upstream:idx:s", "user:upstream:u"] {
        for member in [other.key("upstream:s:p"), "garbage".to_owned()] {
            tenant.run::<()>(&["SADD", &tenant.key(index), &member]);
        }
    }
    for session in ["s", "t", "{x}", "{", "}{", "a}b"] {
        for provider in ["p", "{q}"] {
            broker.put(&key(session, provider), &row("u", "at")).await;
            broker.put(&key(session, provider), &row("{v}", "at")).await;
            broker.put(&key(session, provider), &row("u", "at")).await;
        }
        assert_eq!(
            broker.rows_of(&testkit::rows::session(session)).await.len(),
            2
        );
    }
    let silent = Row {
        refresh_token: None,
        ..row("u", "at")
    };
    broker.put_carrying(&key("new", "p"), &silent).await;
    assert_eq!(broker.listed(&user("u")).await.len(), 13);
    broker
        .latest_for_user(&user("u"), &provider("{q}"), &Default::default())
        .await
        .unwrap();
    assert!(broker.remove(&key("s", "p")).await);
    assert_eq!(broker.delete_all(&session("{x}")).await.unwrap(), 2);
    assert_eq!(broker.delete_user(&user("u")).await.unwrap().rows, 10);
}
