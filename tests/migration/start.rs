//! M7: a completed migration is recorded with its mapping, so that a later start costs one read.

use std::sync::{Arc, Mutex};

use testkit::resp_proxy::{Fate, OPENING, RespProxy};
use token_broker::store::redis::maintenance::migration::progress::Silent;

use crate::{
    old_tenant::{OldTenant, P, old_json, told},
    seed::{MAPPING, ROWS, seed},
};

/// Returns the commands that a start sends, without the ones that open a connection.
async fn commands_of_a_start(tenant: &OldTenant, mapping: &[&str]) -> Vec<String> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        seen.lock().unwrap().push(command.name());
        async { Fate::Forward }
    })
    .await;
    let report = tenant
        .migration_at(proxy.port(), mapping)
        .ensure_migrated(&Silent)
        .await;
    assert_eq!(report.unwrap(), None);
    let mut sent = sent.lock().unwrap().clone();
    sent.retain(|name| !OPENING.contains(&name.as_str()));
    sent
}

#[tokio::test]
async fn m7_a_later_start_costs_one_read() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    let first = tenant
        .migration(MAPPING)
        .ensure_migrated(&Silent)
        .await
        .unwrap();
    assert_eq!(first.unwrap().rows.migrated, ROWS.len() as u64);
    assert_eq!(commands_of_a_start(&tenant, MAPPING).await, ["MGET"]);
    // A start without a mapping sends nothing.
    assert_eq!(commands_of_a_start(&tenant, &[]).await, ["MGET"]);
}

#[tokio::test]
async fn m7_another_mapping_migrates_again() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    let first = tenant
        .migration(&["oidc=okta"])
        .ensure_migrated(&Silent)
        .await
        .unwrap();
    assert_eq!(first.unwrap().rows.failed, 2, "the other type");
    let second = tenant
        .migration(MAPPING)
        .ensure_migrated(&Silent)
        .await
        .unwrap();
    assert_eq!(
        told(&second.unwrap()),
        "identities migrated 1, identities present 1, rows migrated 2"
    );
    tenant
        .old_row("late", &old_json("oidc", "u", "1"), "u", None)
        .await;
    let third = tenant
        .migration(&["oidc=entra"])
        .ensure_migrated(&Silent)
        .await
        .unwrap();
    assert_eq!(third.unwrap().rows.migrated, 1);
    assert!(tenant.exists(&format!("{P}upstream:late:entra")).await);
}

#[tokio::test]
async fn m7_a_tenant_of_its_own_in_a_shared_redis() {
    let tenant = OldTenant::new().await;
    tenant.set("thv:auth:{ns:other}:upstream:s", "{").await;
    let report = tenant
        .migration(&[])
        .ensure_migrated(&Silent)
        .await
        .unwrap();
    assert_eq!(told(&report.unwrap()), "");
    assert!(
        !tenant.exists(&format!("{P}broker:grace")).await,
        "this tenant is empty"
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_none() {
    let tenant = OldTenant::new().await;
    for record in [
        "",
        "{}",
        "[]",
        r#"{"mapping":{"oidc":""},"completed_at":1}"#,
    ] {
        tenant.set(&format!("{P}broker:migration"), record).await;
        let report = tenant
            .migration(MAPPING)
            .ensure_migrated(&Silent)
            .await
            .unwrap();
        assert!(report.is_some(), "{record}");
    }
    // A record of a later version has more fields.
    let record = r#"{"mapping":{"oidc":"okta"},"completed_at":1,"later":true}"#;
    tenant.set(&format!("{P}broker:migration"), record).await;
    assert_eq!(commands_of_a_start(&tenant, &["oidc=okta"]).await, ["MGET"]);
}
