//! A rolling restart of the brokers while rows are refreshed.

use std::sync::Arc;

use testkit::{redis_server::RedisServer, waiting::found};

use crate::{
    callers::{Got, agreed, all},
    fleet::{Fleet, Size, has_ended, signal},
    kills::SLOW,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing() {
    let fleet = Arc::new(Fleet::start(RedisServer::start(), "").await);
    let size = Size::of(150, 4);
    let sessions = fleet.store_expired(size.rows).await;
    // The rows last for all three restarts, unless the machine is busy.
    fleet.provider.takes(SLOW);
    let restarting = {
        let fleet = Arc::clone(&fleet);
        tokio::spawn(async move {
            for number in 0..3 {
                // The other brokers may be done with all rows before this one is replaced.
                let more = fleet.provider.happened().redemptions + 5;
                let wanted = more.min(size.rows as u64);
                found("some more rows are refreshed", || {
                    (fleet.provider.happened().redemptions >= wanted).then_some(())
                })
                .await;
                let broker = fleet.take(number);
                let pid = broker.process.pid();
                signal("TERM", pid);
                fleet.start_broker(number).await;
                found("the broker has ended", || has_ended(pid).then_some(())).await;
            }
        })
    };
    let got = agreed(all(&fleet, &sessions, size.callers).await);
    restarting.await.unwrap();
    assert!(
        got.values().all(|got| matches!(got, Got::Token(_))),
        "{got:?}"
    );
    fleet.redeemed_each_once(size.rows);
}
