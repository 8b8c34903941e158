//! M2: a row in today's format is never overwritten, unless the migration wrote it itself.

use testkit::rows::put_always;
use token_broker::{
    store::Store,
    types::{Row, Secret, UserId},
};

use crate::old_tenant::{OldTenant, P, assert_kept, old_json, row_key, told};

const OKTA: &[&str] = &["oidc=okta"];

/// Plants a migrated row, and then a straggler of the same session.
async fn migrated_then_straggler(tenant: &OldTenant) {
    tenant
        .old_row("s", &old_json("oidc", "u", "first"), "u", Some(60_000))
        .await;
    tenant.migrate(OKTA).await;
}

async fn straggler(tenant: &OldTenant, user: &str) {
    tenant
        .old_row("s", &old_json("oidc", user, "second"), user, Some(120_000))
        .await;
}

async fn access_token(tenant: &OldTenant) -> String {
    let row = tenant.read("s", "okta").await.row;
    row.access_token.unwrap().expose().to_owned()
}

#[tokio::test]
async fn m2_a_newer_row_stays_and_the_old_one_is_dropped() {
    let tenant = OldTenant::new().await;
    let newer = r#"{"provider_id":"okta","access_token":"new","user_id":"u"}"#;
    tenant
        .set_for(&format!("{P}upstream:s:okta"), newer, 60_000)
        .await;
    tenant
        .old_row("s", &old_json("oidc", "u", "old"), "u", None)
        .await;

    assert_eq!(told(&tenant.migrate(OKTA).await), "rows dropped 1");
    assert_eq!(
        tenant.get(&format!("{P}upstream:s:okta")).await.unwrap(),
        newer
    );
    assert_kept(tenant.pttl(&format!("{P}upstream:s:okta")).await, 60_000);
    assert!(!tenant.exists(&format!("{P}upstream:s")).await);
    assert!(
        !tenant.exists(&format!("{P}user:upstream:u")).await,
        "the old place"
    );
}

#[tokio::test]
async fn m2_a_null_row_is_none() {
    let tenant = OldTenant::new().await;
    tenant.set(&format!("{P}upstream:s:okta"), "null").await;
    tenant
        .old_row("s", &old_json("oidc", "u", "old"), "u", None)
        .await;
    assert_eq!(told(&tenant.migrate(OKTA).await), "rows migrated 1");
    assert_eq!(access_token(&tenant).await, "at-old");
}

#[tokio::test]
async fn m2_a_straggler_wins_over_the_row_that_the_migration_wrote() {
    let tenant = OldTenant::new().await;
    migrated_then_straggler(&tenant).await;
    straggler(&tenant, "u").await;
    assert_eq!(told(&tenant.migrate(OKTA).await), "rows superseded 1");
    assert_eq!(access_token(&tenant).await, "at-second");
    assert_kept(tenant.pttl(&format!("{P}upstream:s:okta")).await, 120_000);
    assert_kept(tenant.pttl(&format!("{P}upstream:idx:s")).await, 120_000);
    // This works again, because the row is a migrated row itself.
    straggler(&tenant, "u").await;
    assert_eq!(told(&tenant.migrate(OKTA).await), "rows superseded 1");
}

#[tokio::test]
async fn m2_a_straggler_of_another_user_takes_the_place_along() {
    let tenant = OldTenant::new().await;
    migrated_then_straggler(&tenant).await;
    straggler(&tenant, "v").await;
    tenant.migrate(OKTA).await;
    let row = format!("{P}upstream:s:okta");
    assert_eq!(
        tenant.members(&format!("{P}user:upstream:v")).await,
        [row.as_str()]
    );
    assert!(!tenant.exists(&format!("{P}user:upstream:u")).await);
    let deleted = tenant
        .broker()
        .delete_user(&UserId::new("u").unwrap())
        .await;
    assert_eq!(deleted.unwrap().rows, 0);
    assert_eq!(access_token(&tenant).await, "at-second");
}

#[tokio::test]
async fn m2_the_brokers_own_write_wins_over_a_straggler() {
    let tenant = OldTenant::new().await;
    migrated_then_straggler(&tenant).await;
    let key = row_key("s", "okta");
    let row = Row {
        access_token: Secret::new("brokers".to_owned()),
        user_id: UserId::new("u").ok(),
        ..Row::default()
    };
    let put = put_always(&key, &row);
    tenant.store().put(put).await.unwrap();
    straggler(&tenant, "u").await;
    assert_eq!(told(&tenant.migrate(OKTA).await), "rows dropped 1");
    assert_eq!(access_token(&tenant).await, "brokers");
    let row = format!("{P}upstream:s:okta");
    assert_eq!(
        tenant.members(&format!("{P}user:upstream:u")).await,
        [row.as_str()]
    );
}

/// Toolhive writes only its own fields. A writer that keeps unknown fields changes the version.
#[tokio::test]
async fn m2_any_rewrite_of_a_migrated_row_wins_over_a_straggler() {
    let tenant = OldTenant::new().await;
    for keeps_fields in [false, true] {
        migrated_then_straggler(&tenant).await;
        let key = format!("{P}upstream:s:okta");
        let mut row: serde_json::Value =
            serde_json::from_str(&tenant.get(&key).await.unwrap()).unwrap();
        row["access_token"] = "rewritten".into();
        if keeps_fields {
            row["version"] = 4711.into();
        } else {
            let fields = row.as_object_mut().unwrap();
            fields.retain(|name, _| name != "version" && name != "migrated");
        }
        tenant.set(&key, &row.to_string()).await;
        straggler(&tenant, "u").await;
        assert_eq!(told(&tenant.migrate(OKTA).await), "rows dropped 1");
        assert_eq!(access_token(&tenant).await, "rewritten");
        tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    }
}
