//! Tests the grace period, in which other software may still write (M7).

use std::sync::{Arc, Mutex};

use testkit::{
    resp_proxy::{Fate, RespProxy},
    rows::put_always,
};
use token_broker::{
    store::{
        Put, Store,
        redis::maintenance::migration::{Report, progress::Silent},
    },
    types::{Row, UserId},
};

use crate::{
    old_tenant::{OldTenant, P, assert_kept, old_json, row_key, told},
    seed::{MAPPING, seed},
};

async fn start(tenant: &OldTenant, mapping: &[&str]) -> Option<Report> {
    tenant
        .migration(mapping)
        .ensure_migrated(&Silent)
        .await
        .unwrap()
}

async fn is_grace(tenant: &OldTenant) -> bool {
    tenant.exists(&format!("{P}broker:grace")).await
}

async fn finish(tenant: &OldTenant, mapping: &[&str], allow_unmigrated: bool) -> Report {
    let migration = tenant.migration(mapping);
    migration.finish(allow_unmigrated, &Silent).await.unwrap()
}

#[tokio::test]
async fn m7_an_empty_tenant_has_none() {
    let tenant = OldTenant::new().await;
    assert!(!start(&tenant, &[]).await.unwrap().grace_period);
    assert!(!is_grace(&tenant).await);
    // From now on the broker's writes don't count as other software's, even for an explicit run.
    tenant.set(&format!("{P}upstream:s:okta"), "{}").await;
    assert_eq!(start(&tenant, &[]).await, None);
    assert!(!tenant.migrate(&[]).await.grace_period);
    assert!(!is_grace(&tenant).await);
}

#[tokio::test]
async fn m7_a_tenant_with_data_or_with_a_mapping_has_one() {
    let tenant = OldTenant::new().await;
    tenant.set(&format!("{P}access:signature"), "{}").await;
    assert!(start(&tenant, &[]).await.unwrap().grace_period);
    assert!(is_grace(&tenant).await);

    let tenant = OldTenant::new().await;
    assert!(start(&tenant, MAPPING).await.unwrap().grace_period);
    assert!(is_grace(&tenant).await);
}

#[tokio::test]
async fn m7_finish_takes_the_last_rows_and_ends_it_for_this_mapping() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    start(&tenant, MAPPING).await;
    tenant
        .old_row("late", &old_json("oidc", "u", "1"), "u", Some(60_000))
        .await;
    let report = finish(&tenant, &[], false).await;
    assert_eq!(told(&report), "identities present 2, rows migrated 1");
    assert!(!report.grace_period && !is_grace(&tenant).await);
    // Indexes expire with their rows again.
    assert_kept(tenant.pttl(&format!("{P}user:upstream:u")).await, 60_000);
    assert_eq!(
        tenant.pttl(&format!("{P}user:upstream:alice")).await,
        -1,
        "a row that stays"
    );

    assert_eq!(start(&tenant, MAPPING).await, None);
    assert_eq!(start(&tenant, &[]).await, None);
    assert!(!tenant.migrate(MAPPING).await.grace_period);
    assert!(
        !is_grace(&tenant).await,
        "the same mapping doesn't open it again"
    );
    assert!(start(&tenant, &["oidc=entra"]).await.unwrap().grace_period);
    assert!(is_grace(&tenant).await, "another one does");
}

#[tokio::test]
async fn m7_finish_is_refused_while_something_cannot_be_migrated() {
    let tenant = OldTenant::new().await;
    tenant.old_row("bad", "{", "", None).await;
    start(&tenant, MAPPING).await;
    let report = finish(&tenant, MAPPING, false).await;
    assert!(!report.is_complete() && report.grace_period);
    assert!(is_grace(&tenant).await);
    let report = finish(&tenant, MAPPING, true).await;
    assert!(!report.is_complete() && !report.grace_period);
    assert!(!is_grace(&tenant).await);
    assert_eq!(start(&tenant, MAPPING).await, None);
}

#[tokio::test]
async fn m7_finish_alone_migrates_too() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    let report = finish(&tenant, MAPPING, false).await;
    assert_eq!(report.rows.migrated, 6);
    assert!(!is_grace(&tenant).await);
    assert_eq!(start(&tenant, MAPPING).await, None);
}

/// Toolhive adds members to a user's set without extending its expiry.
#[tokio::test]
async fn m7_user_indexes_do_not_end_in_it() {
    let tenant = OldTenant::new().await;
    start(&tenant, MAPPING).await;
    let store = tenant.store();
    let key = row_key("s", "okta");
    let row = Row {
        user_id: UserId::new("u").ok(),
        ..Row::default()
    };
    let put = || Put {
        keep_for: Some(std::time::Duration::from_secs(60)),
        ..put_always(&key, &row)
    };
    let index = format!("{P}user:upstream:u");
    store.put(put()).await.unwrap();
    assert_eq!(tenant.pttl(&index).await, -1);
    tenant.add(&index, &format!("{P}upstream:dead:okta")).await;
    finish(&tenant, &[], false).await;
    assert_kept(tenant.pttl(&index).await, 60_000);
    assert_eq!(
        tenant.members(&index).await,
        [format!("{P}upstream:s:okta")]
    );
    store.put(put()).await.unwrap();
    assert_kept(tenant.pttl(&index).await, 60_000);
}

/// To look is cheap, and the script isn't, where a tenant has very many users. With a mapping the period begins before the
/// first key is looked at, and without one as soon as there is any data.
#[tokio::test]
async fn m7_only_user_indexes_with_an_end_are_changed() {
    for mapping in [MAPPING, &[]] {
        let tenant = OldTenant::new().await;
        let index = |user: usize| format!("{P}user:upstream:u{user}");
        for user in 0..20 {
            tenant
                .add(&index(user), &format!("{P}upstream:s{user}:okta"))
                .await;
        }
        tenant
            .cmd::<()>("PEXPIRE", &[index(7).as_str(), "60000"])
            .await;
        let other = format!("{P}user:upstream:string");
        tenant.set(&other, "no index").await;

        let settled = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&settled);
        let proxy = RespProxy::start(tenant.redis.port(), move |command| {
            let key = command.args.get(3).cloned().unwrap_or_default();
            let key = String::from_utf8(key).unwrap_or_default();
            // A script that Redis doesn't know comes again as a whole.
            if command.name() == "EVALSHA" && key.contains("user:upstream:") {
                noted.lock().unwrap().push(key);
            }
            async { Fate::Forward }
        })
        .await;
        let migration = tenant.migration_at(proxy.port(), mapping);
        migration.ensure_migrated(&Silent).await.unwrap().unwrap();
        assert_eq!(*settled.lock().unwrap(), [index(7)], "{mapping:?}");
        assert_eq!(tenant.pttl(&index(7)).await, -1, "{mapping:?}");
    }
}
