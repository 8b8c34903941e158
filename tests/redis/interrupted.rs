//! Tests a `DeleteUser` that is interrupted between two batches: it answers `UNAVAILABLE`, and
//! repeating it finishes the work.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::{
    broker::{Broker, rules},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::*,
    waiting::until,
};
use token_broker::error::Error;

use crate::deleting_in_batches::is_batch;

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
    let server = Arc::new(RedisServer::start());
    let tenant = RedisTenant::on(&*server);
    fill(&tenant);
    let all: usize = tenant.run(&["DBSIZE"]);
    // Redis stands still from the first batch on that comes after another one is done.
    let (paused, direct, is_paused) = (Arc::clone(&server), tenant.clone(), Mutex::new(false));
    let proxy = RespProxy::start(server.port(), move |command| {
        let mut is_paused = is_paused.lock().unwrap();
        if is_batch(&command) && !*is_paused && direct.run::<usize>(&["DBSIZE"]) < all {
            paused.pause();
            *is_paused = true;
        }
        async { Fate::Forward }
    })
    .await;
    let through = tenant.at_port(proxy.port());
    let store = through.store_with(Duration::from_secs(2));
    let broker = Broker::new(store, rules(tenant.name().clone()));
    let interrupted = broker.delete_user(&user("u")).await;
    assert!(
        matches!(interrupted, Err(Error::StoreUnavailable(_))),
        "{interrupted:?}"
    );
    server.resume();

    // Each row is whole or gone, and the user's index has the rows that are left.
    tenant.audit();
    let broker = tenant.broker();
    let left = broker.listed(&user("u")).await.len();
    assert!(left > 0 && left < ROWS, "{left} rows are left");
    until("the next one finishes", async || {
        broker.delete_user(&user("u")).await.is_ok()
    })
    .await;
    assert!(tenant.snapshot().names().is_empty());
}
