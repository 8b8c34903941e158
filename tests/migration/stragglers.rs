//! M7: rows that an old replica writes after the migration are picked up without a restart. One
//! broker at a time does this, and it uses a small share of Redis' time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::resp_proxy::{Fate, RespProxy};
use token_broker::store::redis::maintenance::migration::progress::Silent;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    old_tenant::{OldTenant, P, field, old_json, told},
    seed::{MAPPING, seed},
};

const EVERY: Duration = Duration::from_millis(400);

/// Waits until the key exists.
async fn appears(tenant: &OldTenant, key: &str) {
    let there = async {
        while !tenant.exists(key).await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), there)
        .await
        .unwrap_or_else(|_| panic!("{key} is not there"));
}

#[tokio::test]
async fn m7_stragglers_are_picked_up_without_a_restart() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    tenant.migrate(MAPPING).await;
    let migration = tenant.migration(&[]);
    let watching = tokio::spawn(async move { migration.watch_stragglers(EVERY).await });

    // A new row, and an old replica's refresh of a row that was already migrated.
    tenant
        .old_row("late", &old_json("oidc", "u", "late"), "u", None)
        .await;
    appears(&tenant, &format!("{P}upstream:late:okta")).await;
    tenant
        .old_row("s1", &old_json("oidc", "alice", "refreshed"), "alice", None)
        .await;
    let key = format!("{P}provider:4:oidc:late");
    tenant
        .set(&key, r#"{"user_id":"u","provider_id":"oidc"}"#)
        .await;
    appears(&tenant, &format!("{P}provider:4:okta:late")).await;
    let row = async {
        let key = format!("{P}upstream:s1:okta");
        while field(&tenant.get(&key).await.unwrap(), "access_token") != "at-refreshed" {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), row)
        .await
        .expect("the refreshed tokens");
    watching.abort();
}

#[tokio::test]
async fn m7_no_stragglers_after_the_grace_period() {
    let tenant = OldTenant::new().await;
    tenant.migrate(MAPPING).await;
    let migration = tenant.migration(MAPPING);
    migration.finish(false, &Silent).await.unwrap();
    tenant
        .old_row("late", &old_json("oidc", "u", "late"), "u", None)
        .await;
    assert_eq!(migration.sweep(EVERY).await.unwrap(), None);
    assert!(tenant.exists(&format!("{P}upstream:late")).await);
}

#[tokio::test]
async fn m7_one_broker_looks_once_in_a_while() {
    let tenant = OldTenant::new().await;
    tenant.migrate(MAPPING).await;
    let (one, other) = (tenant.migration(MAPPING), tenant.migration(&[]));
    // So long that the other one asks meanwhile, also on a machine under load.
    let (begun, every) = (Instant::now(), Duration::from_secs(2));
    assert!(one.sweep(every).await.unwrap().is_some());
    let mut refused = 0;
    while other.sweep(every).await.unwrap().is_none() {
        refused += 1;
        sleep(Duration::from_millis(5)).await;
    }
    assert!(
        begun.elapsed() >= every - Duration::from_millis(20),
        "{:?}",
        begun.elapsed()
    );
    assert!(refused > 0);
}

#[tokio::test]
async fn m7_a_broker_that_dies_while_it_looks_is_taken_over_from() {
    let tenant = OldTenant::new().await;
    tenant.migrate(MAPPING).await;
    let proxy = RespProxy::start(tenant.redis.port(), async |command| {
        if command.name() == "SCAN" {
            Fate::CutBefore
        } else {
            Fate::Forward
        }
    })
    .await;
    let dead = tenant.migration_at(proxy.port(), MAPPING).with_lease(EVERY);
    tokio::select! {
        swept = dead.sweep(Duration::from_secs(60)) => assert!(swept.is_err()),
        () = proxy.cut() => {}
    }
    tenant
        .old_row("late", &old_json("oidc", "u", "late"), "u", None)
        .await;
    let next = tenant.migration(MAPPING);
    let watching = tokio::spawn(async move { next.watch_stragglers(EVERY).await });
    appears(&tenant, &format!("{P}upstream:late:okta")).await;
    watching.abort();
}

/// The last completed migration counts, even for brokers that still run with another configuration.
#[tokio::test]
async fn m7_stragglers_go_where_the_last_migration_put_theirs() {
    let tenant = OldTenant::new().await;
    tenant.migrate(&["oidc=okta"]).await;
    let old = tenant.migration(&["oidc=okta"]);
    tenant.migrate(&["oidc=entra"]).await;
    tenant
        .old_row("late", &old_json("oidc", "u", "late"), "u", None)
        .await;
    let report = old.sweep(EVERY).await.unwrap().unwrap();
    assert_eq!(told(&report), "rows migrated 1");
    assert!(tenant.exists(&format!("{P}upstream:late:entra")).await);
}

/// After each page, a sweep rests for 19 times as long as the page took.
#[tokio::test]
async fn m7_a_sweep_takes_a_twentieth_of_the_time_of_redis() {
    let tenant = OldTenant::new().await;
    for n in 0..20_000 {
        tenant.set(&format!("{P}access:{n}"), "{}").await;
    }
    tenant.migrate(MAPPING).await;
    // This Redis takes 2 ms for a page.
    let (pages, slow) = (Arc::new(AtomicUsize::new(0)), Duration::from_millis(2));
    let counted = Arc::clone(&pages);
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let is_scan = command.name() == "SCAN";
        counted.fetch_add(usize::from(is_scan), Ordering::SeqCst);
        async move {
            if is_scan {
                sleep(slow).await;
            }
            Fate::Forward
        }
    })
    .await;
    let migration = tenant.migration_at(proxy.port(), MAPPING);
    let begun = Instant::now();
    migration
        .sweep(Duration::from_millis(1))
        .await
        .unwrap()
        .expect("a sweep");
    let pages = u32::try_from(pages.load(Ordering::SeqCst)).unwrap();
    assert!(pages >= 15, "{pages}");
    let busy = slow * pages;
    assert!(
        begun.elapsed() >= busy * 19,
        "{:?} for {busy:?}",
        begun.elapsed()
    );
}
