//! M1, M2: others write while a decision is being carried out.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use token_broker::store::redis::maintenance::migration::{Report, progress::Silent};

use crate::{
    resp_proxy::{RespProxy, Verdict},
    world::{P, World, field, migration_on, old_json, told},
};

const OKTA: &[&str] = &["oidc=okta"];

/// A run under whose hands `write` writes: right before the script that moves a row, which was
/// decided on before. As often as `times`.
async fn run_with<F>(
    world: &Arc<World>,
    times: usize,
    write: impl Fn(Arc<World>, usize) -> F + Send + Sync + 'static,
) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    let (world, count) = (Arc::clone(world), AtomicUsize::new(0));
    let port = world.redis.port();
    let proxy = RespProxy::start(port, move |command| {
        let moves = command
            .args
            .iter()
            .any(|arg| arg.ends_with(b":upstream:s:okta"));
        let due = command.name().starts_with("EVAL")
            && moves
            && count.fetch_add(1, Ordering::SeqCst) < times;
        let writing = due.then(|| write(Arc::clone(&world), count.load(Ordering::SeqCst)));
        async move {
            if let Some(writing) = writing {
                writing.await;
            }
            Verdict::Forward
        }
    })
    .await;
    migration_on(proxy.port(), OKTA).run(&Silent).await.unwrap()
}

async fn begin() -> Arc<World> {
    let world = World::new().await;
    // The scripts are known already, so that each row is sent once.
    world
        .old_row("warm", &old_json("oidc", "", "w"), "", None)
        .await;
    world.migrate(OKTA).await;
    world
        .cmd::<()>(
            "DEL",
            &[
                format!("{P}upstream:warm:okta"),
                format!("{P}upstream:idx:warm"),
            ],
        )
        .await;
    world
        .old_row("s", &old_json("oidc", "u", "1"), "u", Some(60_000))
        .await;
    Arc::new(world)
}

#[tokio::test]
async fn an_old_replica_that_refreshes_under_its_hands_loses_no_token() {
    let world = begin().await;
    let report = run_with(&world, 3, async |world, n| {
        let json = old_json("oidc", "u", &format!("refreshed-{n}"));
        world.old_row("s", &json, "u", Some(120_000)).await;
    })
    .await;
    assert_eq!(told(&report), "rows migrated 1");
    let row = world.get(&format!("{P}upstream:s:okta")).await.unwrap();
    assert_eq!(field(&row, "refresh_token"), "rt-refreshed-3");
    assert!(world.pttl(&format!("{P}upstream:s:okta")).await > 60_000);
    assert!(!world.exists(&format!("{P}upstream:s")).await);
}

/// Stores `newer` between the migration's decision and its step: it stays, the older row goes.
async fn stays_when_stored_under_its_hands(world: &Arc<World>, newer: &'static str) {
    let report = run_with(world, 1, move |world, _| async move {
        world.set(&format!("{P}upstream:s:okta"), newer).await;
    })
    .await;
    assert_eq!(told(&report), "rows dropped 1");
    assert_eq!(
        world.get(&format!("{P}upstream:s:okta")).await.unwrap(),
        newer
    );
}

#[tokio::test]
async fn a_row_that_is_stored_under_its_hands_is_not_overwritten() {
    let world = begin().await;
    let newer = r#"{"provider_id":"okta","access_token":"newer"}"#;
    stays_when_stored_under_its_hands(&world, newer).await;
}

#[tokio::test]
async fn a_broker_that_refreshes_a_migrated_row_wins_over_a_straggler_in_flight() {
    let world = begin().await;
    world.migrate(OKTA).await;
    world
        .old_row("s", &old_json("oidc", "u", "straggler"), "u", None)
        .await;
    let newer = r#"{"provider_id":"okta","access_token":"refreshed","version":7}"#;
    stays_when_stored_under_its_hands(&world, newer).await;
}

#[tokio::test]
async fn a_session_that_is_logged_out_under_its_hands_stays_gone() {
    let world = begin().await;
    let report = run_with(&world, 1, async |world, _| {
        world.cmd::<()>("DEL", &[format!("{P}upstream:s")]).await;
    })
    .await;
    assert_eq!(told(&report), "rows vanished 1");
    assert!(!world.exists(&format!("{P}upstream:s:okta")).await);
}

#[tokio::test]
async fn a_row_that_never_holds_still_is_a_failure_not_a_hang() {
    let world = begin().await;
    let report = run_with(&world, usize::MAX, async |world, n| {
        let json = old_json("oidc", "u", &format!("write-{n}"));
        world.old_row("s", &json, "u", None).await;
    })
    .await;
    assert_eq!(told(&report), "rows failed 1");
    assert!(world.exists(&format!("{P}upstream:s")).await);
}
