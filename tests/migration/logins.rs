//! M4 and logins: whoever logs in leads to the same user as at the older software, also before a pass has copied the identity
//! (guarantees, section 2.3).

use std::{sync::Arc, time::Duration};

use token_broker::{
    error::Error,
    identities::{UserOptions, Users},
    store::{
        Sealing,
        redis::{
            RedisStore,
            maintenance::migration::{Migration, progress::Silent},
        },
    },
    types::{IdentityKey, ProviderName, Reach, Subject, UserId},
};

use crate::old_tenant::{OldTenant, P, mapping_of, told};

const MAPPING: &[&str] = &["oidc=okta"];
const OLD: &str = "provider:4:oidc:sub";
const NEW: &str = "provider:4:okta:sub";

fn over(store: RedisStore) -> Users<RedisStore> {
    let options = UserOptions {
        max_identities: 5,
        patience: Duration::from_secs(1),
    };
    Users::new(Arc::new(store), options)
}

/// A tenant in its grace period, and the users of a broker that serves it with this mapping.
async fn served(tenant: &OldTenant, mapping: &[&str]) -> Users<RedisStore> {
    let store = tenant.store();
    let sealing = Sealing::off(tenant.name().clone());
    let migration = Migration::new(&store, mapping_of(mapping), sealing);
    migration.ensure_migrated(&Silent).await.unwrap();
    over(store)
}

fn okta() -> IdentityKey {
    IdentityKey {
        provider: ProviderName::new("okta").unwrap(),
        subject: Subject::new("sub").unwrap(),
    }
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

/// A login of the user `id` at the older software, which makes user and identity.
async fn old_login(tenant: &OldTenant, id: &str) {
    let record = format!(r#"{{"id":"{id}","created_at":1700000000,"updated_at":1700000000}}"#);
    tenant.set(&format!("{P}user:{id}"), &record).await;
    tenant.set(&format!("{P}{OLD}"), &link("oidc", id)).await;
    let set = format!("{P}user:providers:{id}");
    tenant.add(&set, &format!("{P}{OLD}")).await;
}

fn link(provider: &str, id: &str) -> String {
    format!(
        r#"{{"user_id":"{id}","provider_id":"{provider}","provider_subject":"sub","linked_at":1700000000,"last_used_at":1700000001}}"#
    )
}

#[tokio::test]
async fn m4_a_user_who_was_migrated_logs_in_as_before() {
    let tenant = OldTenant::new().await;
    old_login(&tenant, "u").await;
    for users in [served(&tenant, MAPPING).await, served(&tenant, &[]).await] {
        let resolved = users.resolve(&okta()).await.unwrap();
        assert!(!resolved.created && resolved.user == user("u"));
        let listed = users.list(&user("u"), &Reach::default()).await.unwrap();
        assert_eq!(
            listed.len(),
            1,
            "the older copy isn't an identity of its own"
        );
    }
    assert_eq!(
        tenant.get(&format!("{P}{OLD}")).await.unwrap(),
        link("oidc", "u")
    );
    tenant.migration(&[]).finish(false, &Silent).await.unwrap();
    let users = served(&tenant, &[]).await;
    assert_eq!(users.resolve(&okta()).await.unwrap().user, user("u"));
}

/// The older software made the user a moment ago, and no pass came since. A broker that didn't look there would make a second
/// user for the person: that is the control.
#[tokio::test]
async fn m4_a_login_ahead_of_the_next_pass_leads_to_the_same_user() {
    for knows in [true, false] {
        let tenant = OldTenant::new().await;
        let users = served(&tenant, MAPPING).await;
        old_login(&tenant, "u").await;
        if !knows {
            let blind = over(tenant.store()).resolve(&okta()).await.unwrap();
            assert!(blind.created && blind.user != user("u"));
            continue;
        }
        let resolved = users.resolve(&okta()).await.unwrap();
        assert!(!resolved.created && resolved.user == user("u"));
        let copy = tenant.get(&format!("{P}{NEW}")).await.unwrap();
        let used = copy.split("\"last_used_at\":").nth(1).unwrap();
        assert_eq!(copy.replace(used, "1700000001}"), link("okta", "u"));
        assert_eq!(
            tenant.get(&format!("{P}{OLD}")).await.unwrap(),
            link("oidc", "u")
        );
        let set = tenant.members(&format!("{P}user:providers:u")).await;
        assert_eq!(set, [format!("{P}{OLD}"), format!("{P}{NEW}")]);
        assert_eq!(told(&tenant.migrate(MAPPING).await), "identities present 1");
    }
}

/// `UnlinkIdentity` also removes what the older software has, before or after a pass, so that no later pass brings it back.
/// The control removes only the one, and the next pass does.
#[tokio::test]
async fn m4_no_pass_brings_back_what_was_unlinked() {
    for (is_copied, knows) in [(false, true), (true, true), (true, false)] {
        let tenant = OldTenant::new().await;
        let users = served(&tenant, MAPPING).await;
        old_login(&tenant, "u").await;
        if is_copied {
            tenant.migrate(MAPPING).await;
        }
        if !knows {
            assert!(over(tenant.store()).unlink(&okta(), None).await.unwrap());
            assert_eq!(
                told(&tenant.migrate(MAPPING).await),
                "identities migrated 1"
            );
            assert_eq!(users.resolve(&okta()).await.unwrap().user, user("u"));
            continue;
        }
        let others = users.unlink(&okta(), Some(&user("v"))).await;
        assert!(!others.unwrap(), "it isn't that user's");
        assert!(users.unlink(&okta(), Some(&user("u"))).await.unwrap());
        for key in [OLD, NEW, "user:providers:u"] {
            assert!(!tenant.exists(&format!("{P}{key}")).await, "{key}");
        }
        assert_eq!(told(&tenant.migrate(MAPPING).await), "");
        assert!(users.resolve(&okta()).await.unwrap().created);
        assert!(users.get(&user("u")).await.is_ok(), "the user stays");
    }
}

/// An identity that isn't copied yet is somebody's all the same.
#[tokio::test]
async fn m4_nobody_takes_over_what_is_not_copied_yet() {
    let tenant = OldTenant::new().await;
    let users = served(&tenant, MAPPING).await;
    old_login(&tenant, "u").await;
    tenant.set(&format!("{P}user:v"), r#"{"id":"v"}"#).await;
    let taken = users.link(&okta(), &user("v")).await;
    assert!(matches!(taken, Err(Error::IdentityLinked)), "{taken:?}");
    assert!(users.link(&okta(), &user("u")).await.is_ok());
    assert_eq!(users.resolve(&okta()).await.unwrap().user, user("u"));
}

/// What the older software has can't be read or copied: nobody can tell who logs in.
#[tokio::test]
async fn m4_an_older_identity_that_cannot_be_read_makes_no_user() {
    for text in [
        "{",
        "null",
        "[]",
        r#"{"user_id":"u","provider_subject":"other"}"#,
    ] {
        let tenant = OldTenant::new().await;
        let users = served(&tenant, MAPPING).await;
        old_login(&tenant, "u").await;
        tenant.set(&format!("{P}{OLD}"), text).await;
        let before = tenant.snapshot_of_all();
        let told = users.resolve(&okta()).await;
        assert!(
            matches!(told, Err(Error::RecordUnreadable(_))),
            "{text}: {told:?}"
        );
        assert!(
            tenant.snapshot_of_all() == before,
            "{text}: something was written"
        );
    }
}

/// The older identity's user is gone: a new one is made, and no pass undoes that.
#[tokio::test]
async fn m4_an_older_identity_without_a_user_leads_to_nobody() {
    let tenant = OldTenant::new().await;
    let users = served(&tenant, MAPPING).await;
    old_login(&tenant, "u").await;
    tenant.cmd::<()>("DEL", &[format!("{P}user:u")]).await;
    let made = users.resolve(&okta()).await.unwrap();
    assert!(made.created && made.user != user("u"));
    assert_eq!(
        told(&tenant.migrate(MAPPING).await),
        "identities left_alone 1"
    );
    assert_eq!(users.resolve(&okta()).await.unwrap().user, made.user);
}

/// The older copy leads to somebody else than the identity does. Whoever unlinks the identity doesn't make it that user's.
#[tokio::test]
async fn m4_what_is_unlinked_leads_to_nobody() {
    let tenant = OldTenant::new().await;
    let users = served(&tenant, MAPPING).await;
    old_login(&tenant, "bob").await;
    tenant
        .set(&format!("{P}user:alice"), r#"{"id":"alice"}"#)
        .await;
    tenant
        .set(&format!("{P}{NEW}"), &link("okta", "alice"))
        .await;
    tenant
        .add(&format!("{P}user:providers:alice"), &format!("{P}{NEW}"))
        .await;
    assert_eq!(users.resolve(&okta()).await.unwrap().user, user("alice"));
    assert!(users.unlink(&okta(), Some(&user("alice"))).await.unwrap());
    for key in [OLD, NEW, "user:providers:alice", "user:providers:bob"] {
        assert!(!tenant.exists(&format!("{P}{key}")).await, "{key}");
    }
    assert!(users.link(&okta(), &user("alice")).await.unwrap());
}

/// The user of the identity is gone, and the older software's login leads to one who isn't: to that user, and to no third.
#[tokio::test]
async fn m4_a_link_without_a_user_gives_way_to_the_older_one() {
    let prepared = async || {
        let tenant = OldTenant::new().await;
        let users = served(&tenant, MAPPING).await;
        old_login(&tenant, "bob").await;
        tenant
            .set(&format!("{P}{NEW}"), &link("okta", "gone"))
            .await;
        (tenant, users)
    };
    let (tenant, users) = prepared().await;
    let resolved = users.resolve(&okta()).await.unwrap();
    assert!(
        !resolved.created && resolved.user == user("bob"),
        "{resolved:?}"
    );
    let set = tenant.members(&format!("{P}user:providers:bob")).await;
    assert_eq!(set, [format!("{P}{OLD}"), format!("{P}{NEW}")]);

    let (tenant, users) = prepared().await;
    tenant.set(&format!("{P}user:v"), r#"{"id":"v"}"#).await;
    let taken = users.link(&okta(), &user("v")).await;
    assert!(matches!(taken, Err(Error::IdentityLinked)), "{taken:?}");
    let (_tenant, users) = prepared().await;
    assert!(users.unlink(&okta(), Some(&user("bob"))).await.unwrap());
    assert!(users.resolve(&okta()).await.unwrap().created);
}

/// Copies that stay for a way back take no room of the user.
#[tokio::test]
async fn m4_the_older_copy_counts_for_nothing() {
    let tenant = OldTenant::new().await;
    let users = served(&tenant, MAPPING).await;
    old_login(&tenant, "u").await;
    tenant.migrate(MAPPING).await;
    for number in 0..4 {
        let more = IdentityKey {
            subject: Subject::new(format!("{number}")).unwrap(),
            ..okta()
        };
        assert!(users.link(&more, &user("u")).await.unwrap(), "{number}");
    }
    assert_eq!(
        users
            .list(&user("u"), &Reach::default())
            .await
            .unwrap()
            .len(),
        5
    );
}

/// A provider that is called like the older software's protocol type would reach the users of the provider to which that type
/// is mapped, or whom it will be mapped to. The control is a tenant that says that the name is the provider's own.
#[tokio::test]
async fn m4_a_protocol_type_reaches_no_user() {
    let oidc = IdentityKey {
        provider: ProviderName::new("oidc").unwrap(),
        subject: Subject::new("sub").unwrap(),
    };
    for mapping in [MAPPING, &[]] {
        let tenant = OldTenant::new().await;
        let users = served(&tenant, mapping).await;
        old_login(&tenant, "u").await;
        let before = tenant.snapshot_of_all();
        for refused in [
            users.resolve(&oidc).await.map(drop),
            users.link(&oidc, &user("u")).await.map(drop),
            users.unlink(&oidc, None).await.map(drop),
        ] {
            let Err(Error::Invalid(violations)) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!(violations.first()[0].field, "provider");
        }
        assert!(tenant.snapshot_of_all() == before);
    }
    let tenant = OldTenant::new().await;
    let own = mapping_of(&["oidc=oidc"]).type_names();
    let users = served(&tenant, &["oidc=oidc"]).await.naming(own);
    old_login(&tenant, "u").await;
    assert_eq!(users.resolve(&oidc).await.unwrap().user, user("u"));
}
