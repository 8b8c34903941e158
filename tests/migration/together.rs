//! M1, M2: rows that go in one call. Each comes out as if it went alone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::resp_proxy::{Fate, RespProxy};
use token_broker::store::redis::maintenance::migration::{Report, progress::Silent};

use crate::{
    old_tenant::{OldTenant, P, assert_kept, field, old_json, told},
    seed::{MAPPING, ROWS, assert_whole, seed},
};

const OKTA: &[&str] = &["oidc=okta"];

/// Returns a tenant on a Redis that knows the scripts, so that each call is sent once.
async fn begin() -> Arc<OldTenant> {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    tenant.migrate(MAPPING).await;
    tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    Arc::new(tenant)
}

/// Runs a migration. Returns how many calls moved rows. `meddle` meddles right before the first of them.
async fn run_with<F>(
    tenant: &Arc<OldTenant>,
    mapping: &[&str],
    meddle: impl Fn(Arc<OldTenant>) -> F + Send + Sync + 'static,
) -> (Option<Report>, usize)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (inner, calls) = (Arc::clone(tenant), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let index = format!("{P}upstream:idx:");
        let moves = command.name().starts_with("EVAL")
            && command
                .args
                .iter()
                .any(|arg| arg.starts_with(index.as_bytes()));
        let is_first = moves && counted.fetch_add(1, Ordering::SeqCst) == 0;
        let meddling = is_first.then(|| meddle(Arc::clone(&inner)));
        async move {
            if let Some(meddling) = meddling {
                meddling.await;
            }
            Fate::Forward
        }
    })
    .await;
    let migration = tenant.migration_at(proxy.port(), mapping);
    let report = migration.run(&Silent).await.ok();
    (report, calls.load(Ordering::SeqCst))
}

/// One row can't move, others are changed, stored or deleted under the migration's hands, and one is fine.
#[tokio::test]
async fn m1_m2_each_row_of_a_call_has_an_outcome_of_its_own() {
    let tenant = begin().await;
    for session in ["fine", "changed", "stored", "gone", "bad", "taken", "set"] {
        let json = old_json("oidc", session, "1");
        tenant.old_row(session, &json, "", Some(60_000)).await;
    }
    tenant.set(&format!("{P}user:upstream:bad"), "no set").await;
    tenant
        .set(
            &format!("{P}upstream:taken:okta"),
            r#"{"provider_id":"okta"}"#,
        )
        .await;
    tenant.add(&format!("{P}upstream:set:okta"), "member").await;
    let (report, calls) = run_with(&tenant, OKTA, async |tenant| {
        let refreshed = old_json("oidc", "changed", "2");
        tenant
            .old_row("changed", &refreshed, "", Some(120_000))
            .await;
        tenant
            .set(
                &format!("{P}upstream:stored:okta"),
                r#"{"provider_id":"okta"}"#,
            )
            .await;
        tenant
            .cmd::<()>("DEL", &[format!("{P}upstream:gone")])
            .await;
    })
    .await;
    assert_eq!(
        told(&report.unwrap()),
        "rows dropped 2, rows failed 2, rows migrated 2, rows vanished 1"
    );
    assert_eq!(calls, 2, "those that changed go again");
    for (session, token, life) in [("fine", "rt-1", 60_000), ("changed", "rt-2", 120_000)] {
        let row = format!("{P}upstream:{session}:okta");
        assert_eq!(
            field(&tenant.get(&row).await.unwrap(), "refresh_token"),
            token
        );
        assert_kept(tenant.pttl(&row).await, life);
        let index = format!("{P}upstream:idx:{session}");
        assert_eq!(tenant.members(&index).await, [row]);
        assert_kept(tenant.pttl(&index).await, life);
    }
    for (session, is_left) in [
        ("fine", false),
        ("changed", false),
        ("stored", false),
        ("gone", false),
        ("bad", true),
        ("taken", false),
        ("set", true),
    ] {
        let older = format!("{P}upstream:{session}");
        assert_eq!(tenant.exists(&older).await, is_left, "{session}");
    }
    for session in ["stored", "gone", "bad", "taken", "set"] {
        let index = format!("{P}upstream:idx:{session}");
        assert!(!tenant.exists(&index).await, "{session}");
    }
}

/// Redis refuses the first write of a call, and nothing of the call is done.
#[tokio::test]
async fn m1_out_of_memory_at_a_call_of_all_rows() {
    let tenant = begin().await;
    seed(&tenant).await;
    let before = tenant.snapshot_of_all();
    let (report, calls) = run_with(&tenant, MAPPING, async |tenant| {
        tenant.cmd::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
    })
    .await;
    assert_eq!((report.is_some(), calls), (false, 1));
    assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), 0);
    tenant.cmd::<()>("CONFIG", &["SET", "maxmemory", "0"]).await;
    let report = tenant.migrate(MAPPING).await;
    assert_eq!(report.rows.migrated, ROWS.len() as u64);
    assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
}

/// Without a grace period a user's index lives as long as the longest row, whichever of them a call moves first.
#[tokio::test]
async fn m1_rows_of_a_user_in_one_call_never_shorten_the_index() {
    let tenant = begin().await;
    tenant.migration(OKTA).finish(false, &Silent).await.unwrap();
    for n in 0..8 {
        let json = old_json("oidc", "u", "1");
        let life = if n == 3 { 120_000 } else { 60_000 };
        tenant
            .old_row(&format!("s{n}"), &json, "", Some(life))
            .await;
    }
    let (report, calls) = run_with(&tenant, OKTA, async |_| ()).await;
    assert_eq!(
        (told(&report.unwrap()).as_str(), calls),
        ("rows migrated 8", 1)
    );
    let index = format!("{P}user:upstream:u");
    assert_eq!(tenant.members(&index).await.len(), 8);
    assert_kept(tenant.pttl(&index).await, 120_000);
    tenant.audit();
}

/// A call takes sixteen rows, or about 64 KiB, so that other clients don't wait long for it.
#[tokio::test]
async fn a_call_is_bounded() {
    let tenant = begin().await;
    for (rows, size, expected) in [(40, 10, 3), (4, 40_000, 4)] {
        for n in 0..rows {
            let json = old_json("oidc", "u", &"x".repeat(size));
            tenant
                .old_row(&format!("s{size}-{n}"), &json, "u", None)
                .await;
        }
        let (report, calls) = run_with(&tenant, OKTA, async |_| ()).await;
        assert_eq!(report.unwrap().rows.migrated, rows);
        assert_eq!(calls, expected, "{rows} rows of {size} bytes");
    }
}
