//! M4: identities are copied to the provider's name, and no two users are merged.

use token_broker::types::UserId;

use crate::old_tenant::{OldTenant, P, assert_kept, told};

async fn identity(tenant: &OldTenant, provider: &str, subject: &str, user: &str) -> String {
    let key = format!("{P}provider:{}:{provider}:{subject}", provider.len());
    let json = format!(
        r#"{{"user_id":"{user}","provider_id":"{provider}","provider_subject":"{subject}","linked_at":1700000000,"last_used_at":1700000001}}"#
    );
    tenant.set(&key, &json).await;
    tenant.add(&format!("{P}user:providers:{user}"), &key).await;
    key
}

#[tokio::test]
async fn m4_an_identity_is_copied_and_the_old_one_kept() {
    let tenant = OldTenant::new().await;
    let old = identity(&tenant, "oidc", "sub:1", "u").await;
    let before = tenant.get(&old).await.unwrap();

    let report = tenant.migrate(&["oidc=corp-okta"]).await;
    assert_eq!(told(&report), "identities migrated 1");
    let new = format!("{P}provider:9:corp-okta:sub:1");
    assert_eq!(
        tenant.get(&new).await.unwrap(),
        before.replace("oidc", "corp-okta")
    );
    assert_eq!(tenant.get(&old).await.unwrap(), before);
    assert_eq!(tenant.pttl(&new).await, -1);
    let set = format!("{P}user:providers:u");
    assert_eq!(tenant.members(&set).await, [old.as_str(), &new]);

    assert_eq!(
        told(&tenant.migrate(&["oidc=corp-okta"]).await),
        "identities present 1"
    );
    let deleted = tenant
        .broker()
        .delete_user(&UserId::new("u").unwrap())
        .await;
    assert_eq!(deleted.unwrap().identities, 2);
    assert!(!tenant.exists(&new).await && !tenant.exists(&old).await);
}

#[tokio::test]
async fn m4_two_providers_with_equal_subjects_never_merge_users() {
    let tenant = OldTenant::new().await;
    identity(&tenant, "oidc", "sub", "alice").await;
    identity(&tenant, "oauth2", "sub", "bob").await;
    let report = tenant.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities migrated 1");
    let report = tenant.migrate(&["oidc=okta", "oauth2=github"]).await;
    assert_eq!(told(&report), "identities migrated 1, identities present 1");
    for (key, user) in [
        ("provider:4:okta:sub", "alice"),
        ("provider:6:github:sub", "bob"),
        ("provider:4:oidc:sub", "alice"),
        ("provider:6:oauth2:sub", "bob"),
    ] {
        let json = tenant.get(&format!("{P}{key}")).await.unwrap();
        assert_eq!(crate::old_tenant::field(&json, "user_id"), user, "{key}");
    }
}

#[tokio::test]
async fn m4_an_identity_that_exists_is_never_overwritten() {
    let tenant = OldTenant::new().await;
    identity(&tenant, "oidc", "sub", "alice").await;
    let taken = identity(&tenant, "okta", "sub", "carol").await;
    let before = tenant.snapshot_of_all();
    let report = tenant.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities left_alone 1");
    assert!(report.is_complete());
    assert_eq!(report.left_alone[0].key, format!("{P}provider:4:oidc:sub"));
    let after = tenant.snapshot_of_all();
    assert_eq!(before[&*taken], after[&*taken]);
    let set = format!("{P}user:providers:alice");
    assert_eq!(before[&*set], after[&*set]);
}

#[tokio::test]
async fn m4_a_provider_called_like_its_type_needs_no_copy() {
    let tenant = OldTenant::new().await;
    identity(&tenant, "oidc", "sub", "alice").await;
    assert_eq!(told(&tenant.migrate(&["oidc=oidc"]).await), "");
    let report = tenant.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities migrated 1");
}

#[tokio::test]
async fn an_identity_with_an_end_keeps_it_and_one_for_an_odd_user_is_found() {
    let tenant = OldTenant::new().await;
    let key = identity(&tenant, "oidc", "sub", "a:b").await;
    tenant.cmd::<()>("PEXPIRE", &[key.as_str(), "60000"]).await;
    tenant.migrate(&["oidc=okta"]).await;
    assert_kept(
        tenant.pttl(&format!("{P}provider:4:okta:sub")).await,
        60_000,
    );
    let deleted = tenant
        .broker()
        .delete_user(&UserId::new("a:b").unwrap())
        .await;
    assert_eq!(deleted.unwrap().identities, 2);
}

#[tokio::test]
async fn identities_that_cannot_be_copied_are_named() {
    let tenant = OldTenant::new().await;
    let prefix = format!("{P}provider:4:oidc:");
    tenant.set(&format!("{prefix}corrupt"), "{").await;
    tenant
        .set(&format!("{prefix}nobody"), r#"{"provider_id":"oidc"}"#)
        .await;
    tenant
        .set(
            &format!("{prefix}other"),
            r#"{"user_id":"u","provider_subject":"another"}"#,
        )
        .await;
    tenant.add(&format!("{prefix}set"), "x").await;
    tenant
        .set(&format!("{prefix}unset"), r#"{"user_id":"w"}"#)
        .await;
    tenant.set(&format!("{P}user:providers:w"), "no set").await;
    let report = tenant.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities failed 5");
    let named: Vec<_> = report
        .failed
        .iter()
        .map(|entry| &entry.key[prefix.len()..])
        .collect();
    assert_eq!(named, ["corrupt", "nobody", "other", "set", "unset"]);
    assert!(!tenant.exists(&format!("{P}provider:4:okta:unset")).await);
}
