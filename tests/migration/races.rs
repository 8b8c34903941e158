//! M1, M2: other clients write between a decision and its execution.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::resp_proxy::{Fate, RespProxy};
use token_broker::store::redis::maintenance::migration::{Report, progress::Silent};

use crate::old_tenant::{OldTenant, P, field, old_json, told};

const OKTA: &[&str] = &["oidc=okta"];

/// Runs a migration. `write` writes right before each script that moves a row, after the decision
/// about the row, at most `times` times.
async fn run_with<F>(
    tenant: &Arc<OldTenant>,
    times: usize,
    write: impl Fn(Arc<OldTenant>, usize) -> F + Send + Sync + 'static,
) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    let (inner, count) = (Arc::clone(tenant), AtomicUsize::new(0));
    let port = tenant.redis.port();
    let proxy = RespProxy::start(port, move |command| {
        let moves = command
            .args
            .iter()
            .any(|arg| arg.ends_with(b":upstream:s:okta"));
        let due = command.name().starts_with("EVAL")
            && moves
            && count.fetch_add(1, Ordering::SeqCst) < times;
        let writing = due.then(|| write(Arc::clone(&inner), count.load(Ordering::SeqCst)));
        async move {
            if let Some(writing) = writing {
                writing.await;
            }
            Fate::Forward
        }
    })
    .await;
    tenant
        .migration_at(proxy.port(), OKTA)
        .run(&Silent)
        .await
        .unwrap()
}

async fn begin() -> Arc<OldTenant> {
    let tenant = OldTenant::new().await;
    // Redis already knows the scripts, so each row is sent once.
    tenant
        .old_row("warm", &old_json("oidc", "", "w"), "", None)
        .await;
    tenant.migrate(OKTA).await;
    tenant
        .cmd::<()>(
            "DEL",
            &[
                format!("{P}upstream:warm:okta"),
                format!("{P}upstream:idx:warm"),
            ],
        )
        .await;
    tenant
        .old_row("s", &old_json("oidc", "u", "1"), "u", Some(60_000))
        .await;
    Arc::new(tenant)
}

#[tokio::test]
async fn an_old_replica_that_refreshes_under_its_hands_loses_no_token() {
    let tenant = begin().await;
    let report = run_with(&tenant, 3, async |tenant, n| {
        let json = old_json("oidc", "u", &format!("refreshed-{n}"));
        tenant.old_row("s", &json, "u", Some(120_000)).await;
    })
    .await;
    assert_eq!(told(&report), "rows migrated 1");
    let row = tenant.get(&format!("{P}upstream:s:okta")).await.unwrap();
    assert_eq!(field(&row, "refresh_token"), "rt-refreshed-3");
    assert!(tenant.pttl(&format!("{P}upstream:s:okta")).await > 60_000);
    assert!(!tenant.exists(&format!("{P}upstream:s")).await);
}

/// Stores `newer` between the migration's decision and its step. The newer row stays, and the older
/// row is deleted.
async fn stays_when_stored_under_its_hands(tenant: &Arc<OldTenant>, newer: &'static str) {
    let report = run_with(tenant, 1, move |tenant, _| async move {
        tenant.set(&format!("{P}upstream:s:okta"), newer).await;
    })
    .await;
    assert_eq!(told(&report), "rows dropped 1");
    assert_eq!(
        tenant.get(&format!("{P}upstream:s:okta")).await.unwrap(),
        newer
    );
}

#[tokio::test]
async fn a_row_that_is_stored_under_its_hands_is_not_overwritten() {
    let tenant = begin().await;
    let newer = r#"{"provider_id":"okta","access_token":"newer"}"#;
    stays_when_stored_under_its_hands(&tenant, newer).await;
}

#[tokio::test]
async fn a_broker_that_refreshes_a_migrated_row_wins_over_a_straggler_in_flight() {
    let tenant = begin().await;
    tenant.migrate(OKTA).await;
    tenant
        .old_row("s", &old_json("oidc", "u", "straggler"), "u", None)
        .await;
    let newer = r#"{"provider_id":"okta","access_token":"refreshed","version":7}"#;
    stays_when_stored_under_its_hands(&tenant, newer).await;
}

#[tokio::test]
async fn a_session_that_is_logged_out_under_its_hands_stays_gone() {
    let tenant = begin().await;
    let report = run_with(&tenant, 1, async |tenant, _| {
        tenant.cmd::<()>("DEL", &[format!("{P}upstream:s")]).await;
    })
    .await;
    assert_eq!(told(&report), "rows vanished 1");
    assert!(!tenant.exists(&format!("{P}upstream:s:okta")).await);
}

#[tokio::test]
async fn a_row_that_never_holds_still_is_a_failure_not_a_hang() {
    let tenant = begin().await;
    let report = run_with(&tenant, usize::MAX, async |tenant, n| {
        let json = old_json("oidc", "u", &format!("write-{n}"));
        tenant.old_row("s", &json, "u", None).await;
    })
    .await;
    assert_eq!(told(&report), "rows failed 1");
    assert!(tenant.exists(&format!("{P}upstream:s")).await);
}
