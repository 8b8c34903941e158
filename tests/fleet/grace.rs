//! While older software may redeem the same refresh tokens, brokers don't, unless they are told to.

use std::sync::Arc;

use testkit::{redis_server::RedisServer, requests::token_request};
use tonic_types::StatusExt;

use crate::fleet::Fleet;

/// Lets the grace period of the tenant begin.
fn begin_grace(redis: &RedisServer) {
    let rows: Vec<String> = redis.ask(&["KEYS", "*upstream:session-*"]).unwrap();
    let (prefix, _) = rows[0].split_once("}:").unwrap();
    redis
        .ask::<()>(&["SET", &format!("{prefix}}}:broker:grace"), "1"])
        .unwrap();
}

async fn reason(fleet: &Fleet<RedisServer>, session: &str) -> Option<String> {
    let request = token_request(session, "idp");
    let broker: Arc<_> = fleet.broker(0).unwrap();
    let answer = broker.access().get_access_token(request).await;
    answer
        .err()
        .map(|status| status.get_details_error_info().unwrap().reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_grace_period_brokers_redeem_only_if_they_are_told_to() {
    let fleet = Fleet::start(RedisServer::start(), "").await;
    let sessions = fleet.store_expired(1).await;
    begin_grace(&fleet.redis);
    let refused = reason(&fleet, &sessions[0]).await;
    assert_eq!(refused.as_deref(), Some("NOT_REFRESHABLE"));
    assert_eq!(fleet.provider.happened().redemptions, 0);
    drop(fleet);

    let told = ["--refresh-in-grace=true"];
    let fleet = Fleet::start_with(RedisServer::start(), "", &told).await;
    let sessions = fleet.store_expired(1).await;
    begin_grace(&fleet.redis);
    assert_eq!(reason(&fleet, &sessions[0]).await, None);
    assert_eq!(fleet.provider.happened().redemptions, 1);
}
