//! Rows that expire together, with many callers each.

use std::sync::Arc;

use testkit::redis_server::RedisServer;

use crate::{
    callers::{Got, agreed, all},
    fleet::{Fleet, Size},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refresh_token_is_redeemed_once() {
    let size = Size::of(100, 20);
    let fleet = Arc::new(Fleet::start(RedisServer::start(), "").await);
    let sessions = fleet.store_expired(size.rows).await;
    let got = agreed(all(&fleet, &sessions, size.callers).await);
    assert!(
        got.values().all(|got| matches!(got, Got::Token(_))),
        "{got:?}"
    );
    fleet.redeemed_each_once(size.rows);
}
