//! Tests a `DeleteUser` that is interrupted between two batches: it answers `UNAVAILABLE`, and
//! repeating it finishes the work.

use std::time::Duration;

use testkit::{
    broker::{Broker, rules},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    waiting::until,
};
use token_broker::error::Error;

const ROWS: usize = 6_000;

/// Writes all of the user's rows at once.
fn fill(tenant: &RedisTenant) {
    let mut pipe = redis::pipe();
    for number in 0..ROWS {
        let row = tenant.key(&format!("upstream:s{number}:p"));
        pipe.set(&row, r#"{"access_token":"at","user_id":"u"}"#)
            .ignore();
        pipe.sadd(tenant.key(&format!("upstream:idx:s{number}")), &row)
            .ignore();
        pipe.sadd(tenant.key("user:upstream:u"), &row).ignore();
    }
    pipe.exec(&mut tenant.raw()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_delete_user_is_finished_by_the_next() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let store = tenant.store_with(Duration::from_millis(300));
    let broker = Broker::new(store, rules(tenant.name().clone()));
    fill(&tenant);
    let all: usize = tenant.run(&["DBSIZE"]);

    let deleting = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.delete_user(&user("u")).await })
    };
    let mut raw = tenant.raw();
    while redis::cmd("DBSIZE").query::<usize>(&mut raw).unwrap() == all {
        tokio::task::yield_now().await;
    }
    server.pause();
    let interrupted = deleting.await.unwrap();
    assert!(
        matches!(interrupted, Err(Error::StoreUnavailable(_))),
        "{interrupted:?}"
    );
    server.resume();

    // Each row is whole or gone, and the user's index has the rows that are left.
    tenant.audit();
    let left = broker.listed(&user("u")).await.len();
    assert!(left > 0 && left < ROWS, "{left} rows are left");
    until("the next one finishes", async || {
        broker.delete_user(&user("u")).await.is_ok()
    })
    .await;
    assert!(tenant.snapshot().names().is_empty());
}
