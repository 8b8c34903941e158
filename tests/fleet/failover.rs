//! Another Redis takes over while rows are refreshed, and writes wait for replicas.

use std::sync::Arc;

use testkit::{
    sentinel::{Options, Sentinels},
    waiting::found,
};

use crate::{
    callers::{Got, agreed, all},
    fleet::{Fleet, Size},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_redeemed_twice_when_another_redis_takes_over() {
    let sentinels = Sentinels::start(&Options::default());
    sentinels.settled().await;
    let settings = ["--durability=replicated", "--durability-timeout=2s"];
    let fleet = Arc::new(Fleet::start_with(sentinels, "", &settings).await);
    let size = Size::of(100, 4);
    let sessions = fleet.store_expired(size.rows).await;
    let calls = all(&fleet, &sessions, size.callers);
    let failing_over = async {
        found("some rows are refreshed", || {
            (fleet.provider.happened().redemptions >= 5).then_some(())
        })
        .await;
        let primary = fleet.redis.primary().unwrap();
        fleet.redis.servers[primary].kill();
        fleet.redis.successor_of(primary).await;
    };
    let (got, ()) = tokio::join!(calls, failing_over);
    let got = agreed(got);
    assert!(
        got.values().all(|got| matches!(got, Got::Token(_))),
        "{got:?}"
    );
    fleet.redeemed_each_once(size.rows);
}
