//! M4: identities are copied to the provider's name, and users never meet.

use token_broker::{store::Store, types::UserId};

use crate::world::{P, World, assert_kept, told};

async fn identity(world: &World, provider: &str, subject: &str, user: &str) -> String {
    let key = format!("{P}provider:{}:{provider}:{subject}", provider.len());
    let json = format!(
        r#"{{"user_id":"{user}","provider_id":"{provider}","provider_subject":"{subject}","linked_at":1700000000,"last_used_at":1700000001}}"#
    );
    world.set(&key, &json).await;
    world.add(&format!("{P}user:providers:{user}"), &key).await;
    key
}

#[tokio::test]
async fn m4_an_identity_is_copied_and_the_old_one_kept() {
    let world = World::new().await;
    let old = identity(&world, "oidc", "sub:1", "u").await;
    let before = world.get(&old).await.unwrap();

    let report = world.migrate(&["oidc=corp-okta"]).await;
    assert_eq!(told(&report), "identities migrated 1");
    let new = format!("{P}provider:9:corp-okta:sub:1");
    assert_eq!(
        world.get(&new).await.unwrap(),
        before.replace("oidc", "corp-okta")
    );
    assert_eq!(world.get(&old).await.unwrap(), before);
    assert_eq!(world.pttl(&new).await, -1);
    let set = format!("{P}user:providers:u");
    assert_eq!(world.members(&set).await, [old.as_str(), &new]);

    assert_eq!(
        told(&world.migrate(&["oidc=corp-okta"]).await),
        "identities present 1"
    );
    let deleted = world.store().delete_user(&UserId::new("u").unwrap()).await;
    assert_eq!(deleted.unwrap().identities, 2);
    assert!(!world.exists(&new).await && !world.exists(&old).await);
}

#[tokio::test]
async fn m4_two_providers_with_equal_subjects_never_merge_users() {
    let world = World::new().await;
    identity(&world, "oidc", "sub", "alice").await;
    identity(&world, "oauth2", "sub", "bob").await;
    let report = world.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities migrated 1");
    let report = world.migrate(&["oidc=okta", "oauth2=github"]).await;
    assert_eq!(told(&report), "identities migrated 1, identities present 1");
    for (key, user) in [
        ("provider:4:okta:sub", "alice"),
        ("provider:6:github:sub", "bob"),
        ("provider:4:oidc:sub", "alice"),
        ("provider:6:oauth2:sub", "bob"),
    ] {
        let json = world.get(&format!("{P}{key}")).await.unwrap();
        assert_eq!(crate::world::field(&json, "user_id"), user, "{key}");
    }
}

#[tokio::test]
async fn m4_an_identity_that_exists_is_never_overwritten() {
    let world = World::new().await;
    identity(&world, "oidc", "sub", "alice").await;
    let taken = identity(&world, "okta", "sub", "carol").await;
    let before = world.dump().await;
    let report = world.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities left_alone 1");
    assert!(report.is_complete());
    assert_eq!(report.left_alone[0].key, format!("{P}provider:4:oidc:sub"));
    let after = world.dump().await;
    assert_eq!(before[&taken], after[&taken]);
    let set = format!("{P}user:providers:alice");
    assert_eq!(before[&set], after[&set]);
}

#[tokio::test]
async fn m4_a_provider_called_like_its_type_needs_no_copy() {
    let world = World::new().await;
    identity(&world, "oidc", "sub", "alice").await;
    assert_eq!(told(&world.migrate(&["oidc=oidc"]).await), "");
    let report = world.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities migrated 1");
}

#[tokio::test]
async fn an_identity_with_an_end_keeps_it_and_one_for_an_odd_user_is_found() {
    let world = World::new().await;
    let key = identity(&world, "oidc", "sub", "a:b").await;
    world.cmd::<()>("PEXPIRE", &[key.as_str(), "60000"]).await;
    world.migrate(&["oidc=okta"]).await;
    assert_kept(world.pttl(&format!("{P}provider:4:okta:sub")).await, 60_000);
    let deleted = world
        .store()
        .delete_user(&UserId::new("a:b").unwrap())
        .await;
    assert_eq!(deleted.unwrap().identities, 2);
}

#[tokio::test]
async fn identities_that_cannot_be_copied_are_named() {
    let world = World::new().await;
    let prefix = format!("{P}provider:4:oidc:");
    world.set(&format!("{prefix}corrupt"), "{").await;
    world
        .set(&format!("{prefix}nobody"), r#"{"provider_id":"oidc"}"#)
        .await;
    world
        .set(
            &format!("{prefix}other"),
            r#"{"user_id":"u","provider_subject":"another"}"#,
        )
        .await;
    world.add(&format!("{prefix}set"), "x").await;
    world
        .set(&format!("{prefix}unset"), r#"{"user_id":"w"}"#)
        .await;
    world.set(&format!("{P}user:providers:w"), "no set").await;
    let report = world.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "identities failed 5");
    let named: Vec<_> = report
        .failed
        .iter()
        .map(|entry| &entry.key[prefix.len()..])
        .collect();
    assert_eq!(named, ["corrupt", "nobody", "other", "set", "unset"]);
    assert!(!world.exists(&format!("{P}provider:4:okta:unset")).await);
}
