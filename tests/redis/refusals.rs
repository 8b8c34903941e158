//! Tests a Redis that runs but refuses writes: it is out of memory, or a replica. Writes fail and
//! change nothing, and reads still work. Afterwards writes work again through the same store.

use testkit::{
    broker::{Broker, request},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    waiting::until,
};
use token_broker::{
    error::Error,
    store::{Health, Identities, Store},
    types::{Row, RowKey},
};

/// Stores rows of two users in one session, and one row in another session.
async fn fill<S: Store + Identities>(broker: &Broker<S>) -> [RowKey; 3] {
    let keys = [key("s", "p"), key("s", "q"), key("t", "p")];
    for (key, user) in keys.iter().zip(["u", "v", "u"]) {
        broker.put(key, &row(user, "at")).await;
    }
    keys
}

/// Tries writes of all kinds: a new row, over a row, for another user, and carrying a token
/// forward.
async fn writes_fail<S: Store + Identities>(tenant: &RedisTenant, broker: &Broker<S>) {
    let before = tenant.snapshot();
    let silent = Row {
        refresh_token: None,
        ..row("u", "at")
    };
    for (target, row) in [
        (key("new", "p"), row("u", "at")),
        (key("s", "new"), row("u", "at")),
        (key("s", "p"), row("u", "again")),
        (key("s", "p"), row("v", "moved")),
        (key("s", "p"), bare("nobody's")),
        (key("s", "p"), silent),
    ] {
        let carry_forward = row.refresh_token.is_none();
        let request = token_broker::tokens::StoreTokens {
            carry_forward,
            ..request(&target, &row)
        };
        let refused = broker.store(request).await;
        assert!(
            matches!(refused, Err(Error::StoreUnavailable(_))),
            "{refused:?}"
        );
        assert!(
            tenant.snapshot() == before,
            "a write that failed wrote something"
        );
    }
}

async fn reads_work<S: Store + Identities>(broker: &Broker<S>, keys: &[RowKey]) {
    for key in keys {
        assert!(broker.read(key).await.is_some());
    }
    assert_eq!(broker.rows_of(&session("s")).await.len(), 2);
    assert_eq!(broker.listed(&user("u")).await.len(), 2);
    broker
        .latest_for_user(&user("u"), &provider("p"), &Default::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn out_of_memory() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    let keys = fill(&broker).await;
    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);

    writes_fail(&tenant, &broker).await;
    reads_work(&broker, &keys).await;
    // Deletes free memory, and they work as always.
    assert!(broker.remove(&keys[0]).await);
    tenant.audit();
    assert_eq!(broker.delete_all(&session("s")).await.unwrap(), 1);
    tenant.audit();
    assert_eq!(broker.delete_user(&user("u")).await.unwrap().rows, 1);
    assert!(tenant.snapshot().names().is_empty());

    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    fill(&broker).await;
    tenant.audit();
}

#[tokio::test]
async fn a_replica() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    let keys = fill(&broker).await;
    broker.backend().ready().await.unwrap();
    // The replica of a primary that can't be reached.
    tenant.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);

    writes_fail(&tenant, &broker).await;
    reads_work(&broker, &keys).await;
    let before = tenant.snapshot();
    let refused = [
        broker.delete(&keys[0], None).await.err(),
        broker.delete_all(&session("s")).await.err(),
        broker.delete_user(&user("u")).await.err(),
        broker.backend().ready().await.err().map(Error::from),
    ];
    for refused in refused {
        assert!(
            matches!(refused, Some(Error::StoreUnavailable(_))),
            "{refused:?}"
        );
    }
    assert!(
        tenant.snapshot() == before,
        "a delete that failed deleted something"
    );

    tenant.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    until("the broker writes again", async || {
        broker
            .store(request(&keys[0], &row("u", "again")))
            .await
            .is_ok()
    })
    .await;
    broker.backend().ready().await.unwrap();
    assert_eq!(broker.delete_user(&user("u")).await.unwrap().rows, 2);
    tenant.audit();
}

/// Reads from a replica don't prune: a replica takes no writes, and a read needs none.
#[tokio::test]
async fn a_replica_with_dead_members() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    let keys = fill(&broker).await;
    tenant.run::<()>(&["DEL", &tenant.key("upstream:t:p")]);
    tenant.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let before = tenant.snapshot();
    assert_eq!(broker.listed(&user("u")).await, keys[..1]);
    assert!(tenant.snapshot() == before);
}
