//! Another Redis takes over while rows are refreshed, and writes wait for replicas.

use std::{sync::Arc, time::Duration};

use testkit::{
    oidc_provider::Happened,
    sentinel::{Options, Sentinels},
    waiting::found,
};

use crate::{
    callers::{Got, agreed, all, tokens},
    fleet::{Fleet, Size},
};

/// The settings of a broker whose writes wait for replicas.
const REPLICATED: [&str; 2] = ["--durability=replicated", "--durability-timeout=2s"];

async fn fleet(settings: &[&str]) -> Arc<Fleet<Sentinels>> {
    let sentinels = Sentinels::start(&Options {
        // The tests say when another server takes over. A primary that stands still for a moment stays the primary.
        down_after: Duration::from_secs(3),
        ..Options::default()
    });
    sentinels.settled().await;
    Arc::new(Fleet::start_with(sentinels, "", settings).await)
}

async fn primary(fleet: &Fleet<Sentinels>) -> usize {
    found("the sentinels name a primary", || fleet.redis.primary()).await
}

/// Kills the primary, and waits until there is another one.
async fn fail_over(fleet: &Fleet<Sentinels>) {
    let primary = primary(fleet).await;
    fleet.redis.servers[primary].kill();
    fleet.redis.successor_of(primary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_redeemed_twice_when_another_redis_takes_over() {
    let fleet = fleet(&REPLICATED).await;
    let size = Size::of(100, 4);
    let sessions = fleet.store_expired(size.rows).await;
    let calls = all(&fleet, &sessions, size.callers);
    let failing_over = async {
        found("some rows are refreshed", || {
            (fleet.provider.happened().redemptions >= 5).then_some(())
        })
        .await;
        fail_over(&fleet).await;
    };
    let (got, ()) = tokio::join!(calls, failing_over);
    let got = agreed(got);
    assert!(
        got.values().all(|got| matches!(got, Got::Token(_))),
        "{got:?}"
    );
    fleet.redeemed_each_once(size.rows);
}

/// Stores rows, and cuts the primary off from its replicas once these have them. Returns the rows' sessions.
async fn unheard(fleet: &Fleet<Sentinels>) -> Vec<String> {
    let sessions = fleet.store_expired(10).await;
    let primary = primary(fleet).await;
    let mut connection = fleet.redis.servers[primary].raw();
    let mut ask = redis::pipe();
    // WAIT is for the writes of its own connection, and of all that came before.
    ask.cmd("SET").arg("last").arg(1).ignore();
    ask.cmd("WAIT").arg(2).arg(10_000);
    let (replicas,): (u8,) = ask.query(&mut connection).unwrap();
    assert_eq!(replicas, 2);
    fleet.redis.cut(primary);
    sessions
}

/// The control: if writes don't wait for replicas, the one that takes over knows nothing of the redemptions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_replicas_that_confirm_a_takeover_redeems_tokens_twice() {
    let fleet = fleet(&["--durability=primary"]).await;
    let sessions = unheard(&fleet).await;
    let got = agreed(all(&fleet, &sessions, 2).await);
    assert_eq!(tokens(&got), sessions.len());
    fleet.redeemed_each_once(sessions.len());
    fail_over(&fleet).await;
    all(&fleet, &sessions, 2).await;
    let happened = fleet.provider.happened();
    println!("rows {}, {happened:?}", sessions.len());
    assert_eq!(happened.revocations as usize, sessions.len());
}

/// The same, where writes wait for replicas: nothing is sent before a replica knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_that_no_replica_knows_of() {
    let fleet = fleet(&REPLICATED).await;
    let sessions = unheard(&fleet).await;
    let calls = all(&fleet, &sessions, 2);
    let failing_over = async {
        // Takings have been tried by then, and weren't confirmed.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(fleet.provider.happened(), Happened::default());
        fail_over(&fleet).await;
    };
    let (got, ()) = tokio::join!(calls, failing_over);
    assert_eq!(tokens(&agreed(got)), sessions.len());
    fleet.redeemed_each_once(sessions.len());
}
