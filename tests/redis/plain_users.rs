//! Users whose ids other software spells in keys as they are, where the broker encodes them (guarantees, section 3). toolhive's
//! own ids are UUIDs, which are spelled alike. The keys are spelled out here, and never taken from the broker's code.

use testkit::{redis_tenant::RedisTenant, rows::*};
use token_broker::{
    error::Error,
    store::{
        Store,
        redis::maintenance::{check::Check, progress::Silent},
    },
    types::{IdentityKey, Reach, Subject},
};

use crate::{deleting_users::users, tenant};

/// Ids that the broker encodes.
const ODD: [&str; 7] = [
    "auth0|a:b",
    "a b",
    "{x}",
    "50%",
    "%41",
    "providers:a:b",
    "upstream:x",
];

fn identity(at: &str) -> IdentityKey {
    IdentityKey {
        provider: provider(at),
        subject: Subject::new("sub").unwrap(),
    }
}

/// Writes a user with an identity, a row and the sets of both as toolhive's code does.
fn written_by_others(tenant: &RedisTenant, id: &str) {
    let at = |key: &str| tenant.key(key);
    let record = format!(r#"{{"id":"{id}","created_at":1700000000,"updated_at":1700000000}}"#);
    let link = format!(
        r#"{{"user_id":"{id}","provider_id":"okta","provider_subject":"sub","linked_at":1700000000,"last_used_at":1700000000}}"#
    );
    let row = format!(
        r#"{{"provider_id":"p","access_token":"theirs","refresh_token":"","id_token":"","expires_at":4102444800,"user_id":"{id}","upstream_subject":"sub","client_id":"c"}}"#
    );
    for command in [
        vec!["SET", &at(&format!("user:{id}")), &record],
        vec!["SET", &at("provider:4:okta:sub"), &link],
        vec![
            "SADD",
            &at(&format!("user:providers:{id}")),
            &at("provider:4:okta:sub"),
        ],
        vec!["SET", &at("upstream:theirs:p"), &row],
        vec!["SADD", &at("upstream:idx:theirs"), &at("upstream:theirs:p")],
        vec![
            "SADD",
            &at(&format!("user:upstream:{id}")),
            &at("upstream:theirs:p"),
        ],
    ] {
        tenant.run::<()>(&command);
    }
}

/// The user is found by each call, and gone after `DeleteUser`. Without that a login would make a second user for the person.
#[tokio::test]
async fn a_user_whom_others_spell_plainly_is_found() {
    for id in ODD {
        let tenant = tenant();
        written_by_others(&tenant, id);
        let (users, broker, user) = (users(&tenant), tenant.broker(), user(id));
        let found = users.resolve(&identity("okta")).await.unwrap();
        assert_eq!((&found.user, found.created), (&user, false), "{id}");
        let record = users.get(&user).await.unwrap();
        assert_eq!(
            record.created_at.map(|time| time.seconds()),
            Some(1_700_000_000),
            "{id}"
        );
        assert!(
            users.link(&identity("github"), &user).await.unwrap(),
            "{id}"
        );
        let reach = Reach::default();
        let listed = users.list(&user, &reach).await.unwrap();
        assert_eq!(listed.len(), 2, "{id}");

        // Rows of both are listed, page by page, and the latest of both is found.
        for session in ["ours", "more"] {
            broker.put(&key(session, "p"), &row(id, "at")).await;
        }
        let store = tenant.store();
        let (mut sessions, mut position) = (Vec::new(), None);
        loop {
            let page = store.user_rows(&user, position.as_ref(), 1).await.unwrap();
            sessions.extend(page.keys.iter().map(|key| key.session.as_str().to_owned()));
            position = page.next;
            if position.is_none() {
                break;
            }
        }
        sessions.sort();
        sessions.dedup();
        assert_eq!(sessions, ["more", "ours", "theirs"], "{id}");
        assert_eq!(broker.listed(&user).await.len(), 3, "{id}");

        let report = Check::new(&store).run(&Silent).await.unwrap();
        let is_of_the_user = |key: &str| key.contains("}:provider:") || key.contains("theirs");
        let damage = report.damage.iter();
        let found = damage.filter(|finding| is_of_the_user(&finding.key));
        assert_eq!(found.count(), 0, "{id}: {report}");

        assert!(
            users.unlink(&identity("okta"), Some(&user)).await.unwrap(),
            "{id}"
        );
        let set: usize = tenant.run(&["SCARD", &tenant.key(&format!("user:providers:{id}"))]);
        assert_eq!(set, 0, "{id}");
        let deleted = broker.delete_user(&user).await.unwrap();
        assert_eq!(
            (deleted.rows, deleted.identities, deleted.existed),
            (3, 1, true),
            "{id}"
        );
        assert!(
            matches!(users.get(&user).await, Err(Error::UserNotFound)),
            "{id}"
        );
        let left = tenant.snapshot().names();
        assert!(left.is_empty(), "{id}: {left:?}");
    }
}

/// Deleted by name alone, before anything else touched the user.
#[tokio::test]
async fn all_of_a_user_whom_others_spell_plainly_is_deleted() {
    for id in ODD {
        let tenant = tenant();
        written_by_others(&tenant, id);
        let deleted = tenant.broker().delete_user(&user(id)).await.unwrap();
        assert_eq!(
            (deleted.rows, deleted.identities, deleted.existed),
            (1, 1, true),
            "{id}"
        );
        let left = tenant.snapshot().names();
        assert!(left.is_empty(), "{id}: {left:?}");
    }
}

/// What others spell as the broker spells somebody else is that one's: `user:a%3Ab` is the record of `a:b`, and never of
/// `a%3Ab`. Nor is the index of `u` the record of a user `upstream:u`.
#[tokio::test]
async fn what_is_spelled_as_somebody_else_is_that_ones() {
    let tenant = tenant();
    written_by_others(&tenant, "a%3Ab");
    let users = users(&tenant);
    assert!(matches!(
        users.get(&user("a%3Ab")).await,
        Err(Error::UserNotFound)
    ));
    assert!(users.get(&user("a:b")).await.is_ok());
    let made = users.resolve(&identity("okta")).await.unwrap();
    assert!(made.created && made.user != user("a:b"));

    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    for id in ["upstream:u", "providers:u"] {
        assert!(
            matches!(users.get(&user(id)).await, Err(Error::UserNotFound)),
            "{id}"
        );
        let linked = users.link(&identity("github"), &user(id)).await;
        assert!(
            matches!(linked, Err(Error::UserNotFound)),
            "{id}: {linked:?}"
        );
        let deleted = broker.delete_user(&user(id)).await.unwrap();
        assert!(!deleted.existed, "{id}");
    }
    assert_eq!(broker.listed(&user("u")).await.len(), 1);
}

/// An identity whose user others have deleted leaves that user's set, as it does that of a user whom the broker spells alike.
#[tokio::test]
async fn an_identity_leaves_the_set_of_a_user_who_is_gone() {
    let tenant = tenant();
    written_by_others(&tenant, "a:b");
    tenant.run::<()>(&["DEL", &tenant.key("user:a:b")]);
    let made = users(&tenant).resolve(&identity("okta")).await.unwrap();
    assert!(made.created);
    let left: bool = tenant.run(&["EXISTS", &tenant.key("user:providers:a:b")]);
    assert!(!left);
}
