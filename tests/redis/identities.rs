//! Users and identities in Redis: what toolhive wrote is read and kept as it is, and what the broker writes is what toolhive
//! reads (guarantees, sections 2.3 and 3). The bytes are spelled out here, and never taken from the broker's code.

use std::{sync::Arc, time::Duration};

use testkit::{
    launch::{Launch, Program},
    redis_tenant::RedisTenant,
    rows::*,
    snapshot::Content,
};
use token_broker::{
    error::Error,
    identities::{UserOptions, Users},
    store::redis::RedisStore,
    types::{IdentityKey, Reach, Subject, UserId},
};

use crate::tenant;

fn users(tenant: &RedisTenant) -> Users<RedisStore> {
    let options = UserOptions {
        max_identities: 5,
        patience: Duration::from_secs(1),
    };
    Users::new(Arc::new(tenant.store()), options)
}

fn identity(at: &str, subject: &str) -> IdentityKey {
    IdentityKey {
        provider: provider(at),
        subject: Subject::new(subject).unwrap(),
    }
}

fn set(tenant: &RedisTenant, key: &str, text: &str) {
    tenant.run::<()>(&["SET", &tenant.key(key), text]);
}

fn get(tenant: &RedisTenant, key: &str) -> String {
    tenant.run(&["GET", &tenant.key(key)])
}

fn now(tenant: &RedisTenant) -> u64 {
    let [seconds, _]: [u64; 2] = tenant.run(&["TIME"]);
    seconds
}

/// Writes a user with one identity as toolhive does, but with `link` for the identity.
fn toolhives(tenant: &RedisTenant, user: &str, subject: &str, link: &str) {
    let record = format!(r#"{{"id":"{user}","created_at":1700000000,"updated_at":1700000000}}"#);
    set(tenant, &format!("user:{user}"), &record);
    let identity = format!("provider:4:okta:{subject}");
    set(tenant, &identity, link);
    let set = tenant.key(&format!("user:providers:{user}"));
    tenant.run::<()>(&["SADD", &set, &tenant.key(&identity)]);
}

/// How toolhive spells an identity, and how others may. `@` is the time of its last use, `|` stands before and behind it.
const SPELLINGS: [&str; 8] = [
    r#"{"user_id":"alice","provider_id":"okta","provider_subject":"sub","linked_at":1700000000,"last_used_at":|@|}"#,
    r#"{"user_id":"alice","provider_id":"okta","provider_subject":"{sub}","linked_at":1700000000,"last_used_at":|@|}"#,
    r#"{"last_used_at":|@|,"linked_at":1700000000,"provider_subject":"sub","provider_id":"okta","user_id":"alice"}"#,
    r#"{ "user_id" : "alice", "provider_id":"okta" , "linked_at": 1700000000 , "last_used_at" : |@| }"#,
    r#"{"user_id":"al\u0069ce","provider_id":"okta","linked_at":1700000000,"last_used_at":|@|,"note":"\"last_used_at\":5"}"#,
    r#"{"user_id":"alice","later":[1.0,2e3],"last_used_at":|@|,"é":null}"#,
    "\n{\"user_id\":\"alice\",\"linked_at\":1700000000,\"last_used_at\":|@|}\n",
    r#"{"user_id":"alice"||}"#,
];

/// Every spelling leads to its user. Of the identity only the time of use changes, and nothing else of the tenant does.
#[tokio::test]
async fn what_toolhive_wrote_is_read_and_kept_as_it_is() {
    for spelling in SPELLINGS {
        let tenant = tenant();
        let parts: Vec<_> = spelling.split('|').collect();
        let with = |time: u64| {
            let time = parts[1].replace('@', &time.to_string());
            [parts[0], &time, parts[2]].concat()
        };
        toolhives(&tenant, "alice", "sub", &with(1_700_000_001));
        let (users, before) = (users(&tenant), tenant.snapshot());
        let begun = now(&tenant);
        let resolved = users.resolve(&identity("okta", "sub")).await.unwrap();
        assert!(
            !resolved.created && resolved.user == user("alice"),
            "{spelling}"
        );

        let (mut after, link) = (tenant.snapshot(), tenant.key("provider:4:okta:sub"));
        let text = get(&tenant, "provider:4:okta:sub");
        let is_noted = (begun..=now(&tenant)).any(|time| text == with(time));
        assert!(is_noted, "{spelling} became {text}");
        after
            .0
            .insert(link.clone().into_bytes(), before[&link].clone());
        assert!(after == before, "{spelling}: another key changed");

        // It is noted once a minute at most.
        for (ago, is_kept) in [(50, true), (60, false), (61, false)] {
            let text = with(now(&tenant) - ago);
            set(&tenant, "provider:4:okta:sub", &text);
            users.resolve(&identity("okta", "sub")).await.unwrap();
            let is_same = get(&tenant, "provider:4:okta:sub") == text;
            assert_eq!(
                is_same,
                is_kept || parts[1].is_empty(),
                "{ago} s ago: {spelling}"
            );
        }
        let listed = users.list(&user("alice"), &Reach::default()).await.unwrap();
        assert_eq!(listed.len(), 1, "{spelling}");
        let again = users.link(&identity("okta", "sub"), &user("alice")).await;
        assert!(!again.unwrap(), "it is linked: {spelling}");
    }
}

/// A time of use that isn't the identity's own is kept. Where nobody can tell which is its own, nothing is noted.
#[tokio::test]
async fn times_in_fields_of_others_stay() {
    for (before, after) in [
        (
            r#"{"user_id":"alice","more":{"last_used_at":5},"last_used_at":6}"#,
            Some(r#"{"user_id":"alice","more":{"last_used_at":5},"last_used_at":"#),
        ),
        (
            r#"{"user_id":"alice","last_used_at":6,"more":{"last_used_at":5}}"#,
            None,
        ),
        (
            r#"{"user_id":"alice","more":{"x":{"last_used_at":5}}}"#,
            None,
        ),
    ] {
        let tenant = tenant();
        toolhives(&tenant, "alice", "sub", before);
        let resolved = users(&tenant).resolve(&identity("okta", "sub")).await;
        assert_eq!(resolved.unwrap().user, user("alice"));
        let text = get(&tenant, "provider:4:okta:sub");
        match after {
            Some(after) => assert!(text.starts_with(after) && text != before, "{text}"),
            None => assert_eq!(text, before),
        }
    }
}

/// Toolhive's times are seconds.
#[tokio::test]
async fn times_of_toolhive_are_seconds() {
    let tenant = tenant();
    toolhives(
        &tenant,
        "alice",
        "sub",
        &SPELLINGS[0].replace("|@|", "1700000001"),
    );
    let users = users(&tenant);
    let record = users.get(&user("alice")).await.unwrap();
    let seconds = |time: Option<token_broker::types::UnixTime>| time.map(|time| time.seconds());
    assert_eq!(seconds(record.created_at), Some(1_700_000_000));
    assert_eq!(seconds(record.updated_at), Some(1_700_000_000));
    let listed = users.list(&user("alice"), &Reach::default()).await.unwrap();
    assert_eq!(seconds(listed[0].linked_at), Some(1_700_000_000));
    assert_eq!(seconds(listed[0].last_used_at), Some(1_700_000_001));
}

/// Reads an object as toolhive does, which knows these fields and needs all of them. A text begins with `"`.
fn read_object<const N: usize>(text: &str, names: [&str; N]) -> [String; N] {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let object = json.as_object().unwrap();
    assert_eq!(object.len(), N, "{text}");
    names.map(|name| object[name].to_string())
}

/// What the broker writes, a reader that knows only toolhive's formats reads.
#[tokio::test]
async fn what_is_written_is_what_toolhive_reads() {
    for subject in ["00u1abc", "a:b {c} %", "say \"hi\"\\", "日本"] {
        let tenant = tenant();
        let (users, begun) = (users(&tenant), now(&tenant));
        let made = users.resolve(&identity("okta", subject)).await.unwrap();
        assert!(made.created);
        assert!(
            users
                .link(&identity("corp:ad", subject), &made.user)
                .await
                .unwrap()
        );
        let id = made.user.as_str();

        let is_now = |time: &str| (begun..=now(&tenant)).contains(&time.parse().unwrap());
        let record = get(&tenant, &format!("user:{id}"));
        let [named, created, updated] = read_object(&record, ["id", "created_at", "updated_at"]);
        assert_eq!(named, format!("\"{id}\""));
        assert!(is_now(&created) && created == updated, "{record}");

        let fields = [
            "user_id",
            "provider_id",
            "provider_subject",
            "linked_at",
            "last_used_at",
        ];
        let mut members = Vec::new();
        // The length is that of the provider's name in bytes, and what follows is as it is.
        for (at, length, is_used) in [("okta", 4, true), ("corp:ad", 7, false)] {
            let key = format!("provider:{length}:{at}:{subject}");
            let link = get(&tenant, &key);
            let [of, named, whose, linked, used] = read_object(&link, fields);
            assert_eq!((of, named), (format!("\"{id}\""), format!("\"{at}\"")));
            assert_eq!(serde_json::from_str::<String>(&whose).unwrap(), subject);
            assert!(is_now(&linked), "{link}");
            assert!(if is_used { is_now(&used) } else { used == "0" }, "{link}");
            assert_eq!(tenant.run::<i64>(&["TTL", &tenant.key(&key)]), -1);
            members.push(tenant.key(&key));
        }
        members.sort();
        let set = tenant.key(&format!("user:providers:{id}"));
        let mut found: Vec<String> = tenant.run(&["SMEMBERS", &set]);
        found.sort();
        assert_eq!(found, members);
        for key in [set, tenant.key(&format!("user:{id}"))] {
            assert_eq!(tenant.run::<i64>(&["TTL", &key]), -1, "{key}");
        }
        assert_eq!(tenant.snapshot().names().len(), 4);
    }
}

/// Values that are no identity and no user.
const CORRUPT: [&str; 9] = [
    "",
    "{",
    "null",
    "[]",
    r#"["alice"]"#,
    "\"alice\"",
    r#"{"user_id":7,"created_at":"x"}"#,
    r#"{"user_id":null,"created_at":[]}"#,
    r#"{"user_id":"alice","created_at":1}}"#,
];

/// Puts something else in the place of a key: one of [`CORRUPT`], or a list.
fn spoil(tenant: &RedisTenant, key: &str, text: Option<&str>) {
    match text {
        Some(text) => set(tenant, key, text),
        None => {
            tenant.run::<()>(&["DEL", &tenant.key(key)]);
            tenant.run::<()>(&["RPUSH", &tenant.key(key), "alice"]);
        }
    }
}

/// Whose an identity is that can't be read, nobody can tell. So it makes no second user, and nobody takes it over.
#[tokio::test]
async fn an_identity_that_cannot_be_read_makes_no_user() {
    for text in CORRUPT.into_iter().map(Some).chain([None]) {
        let tenant = tenant();
        toolhives(&tenant, "alice", "sub", "");
        spoil(&tenant, "provider:4:okta:sub", text);
        let (users, before) = (users(&tenant), tenant.snapshot());
        let key = identity("okta", "sub");
        for error in [
            users.resolve(&key).await.err(),
            users.link(&key, &user("alice")).await.err(),
            users.unlink(&key, None).await.err(),
        ] {
            assert!(
                matches!(error, Some(Error::RecordUnreadable(_))),
                "{text:?}: {error:?}"
            );
        }
        assert!(
            tenant.snapshot() == before,
            "{text:?}: something was written"
        );
        let listed = users.list(&user("alice"), &Reach::default()).await.unwrap();
        assert!(listed.is_empty(), "{text:?}");
    }
}

/// A record that can't be read is told of. Its user's identities still lead to that user, and nobody else is made.
#[tokio::test]
async fn a_user_that_cannot_be_read_stays_the_user() {
    for text in CORRUPT.into_iter().map(Some).chain([None]) {
        let tenant = tenant();
        let link = SPELLINGS[0].replace("|@|", &now(&tenant).to_string());
        toolhives(&tenant, "alice", "sub", &link);
        spoil(&tenant, "user:alice", text);
        let (users, before) = (users(&tenant), tenant.snapshot());
        let told = users.get(&user("alice")).await;
        assert!(
            matches!(told, Err(Error::RecordUnreadable(_))),
            "{text:?}: {told:?}"
        );
        let resolved = users.resolve(&identity("okta", "sub")).await.unwrap();
        assert_eq!(resolved.user, user("alice"), "{text:?}");
        assert!(
            tenant.snapshot() == before,
            "{text:?}: something was written"
        );
    }
}

/// An identity whose user is gone is pointed at a new user, and leaves the set of the old one.
#[tokio::test]
async fn an_identity_whose_user_is_gone_gets_a_new_one() {
    for odd in ["alice", "a:b {c}"] {
        let tenant = tenant();
        let encoded = odd
            .replace(':', "%3A")
            .replace(' ', "%20")
            .replace('{', "%7B")
            .replace('}', "%7D");
        let link = SPELLINGS[0]
            .replace("alice", odd)
            .replace("|@|", "1700000001");
        set(&tenant, "provider:4:okta:sub", &link);
        let old_set = tenant.key(&format!("user:providers:{encoded}"));
        let (own, other) = (
            tenant.key("provider:4:okta:sub"),
            tenant.key("provider:4:okta:other"),
        );
        tenant.run::<()>(&["SADD", &old_set, &own, &other]);

        let (users, key) = (users(&tenant), identity("okta", "sub"));
        let made = users.resolve(&key).await.unwrap();
        assert!(made.created && made.user != user(odd));
        let after = tenant.snapshot();
        assert_eq!(
            after[&old_set].content,
            Content::Set([other.into_bytes()].into())
        );
        let new_set = tenant.key(&format!("user:providers:{}", made.user.as_str()));
        assert_eq!(
            after[&new_set].content,
            Content::Set([own.into_bytes()].into())
        );
        let again = users.resolve(&key).await.unwrap();
        assert!(!again.created && again.user == made.user);
    }
}

/// A set that is no set: the login goes on, because it needs only the identity. A link needs the set, and writes nothing.
#[tokio::test]
async fn a_set_of_another_type_hides_no_user() {
    let tenant = tenant();
    let link = SPELLINGS[0].replace("|@|", &now(&tenant).to_string());
    toolhives(&tenant, "alice", "sub", &link);
    set(&tenant, "user:providers:alice", "no set");
    let (users, before) = (users(&tenant), tenant.snapshot());
    let resolved = users.resolve(&identity("okta", "sub")).await.unwrap();
    assert_eq!(resolved.user, UserId::new("alice").unwrap());
    let linked = users.link(&identity("okta", "more"), &user("alice")).await;
    assert!(linked.is_err(), "{linked:?}");
    assert!(tenant.snapshot() == before);
}

/// A login of a known user doesn't fail because the time of use can't be noted. A new user can't be made, and isn't.
#[tokio::test]
async fn a_known_user_logs_in_though_redis_is_full() {
    for program in [Program::Usual, Program::Oldest, Program::Valkey] {
        let server = Launch::new(program).start();
        let tenant = RedisTenant::on(&server);
        let link = SPELLINGS[0].replace("|@|", "1700000001");
        toolhives(&tenant, "alice", "sub", &link);
        let users = users(&tenant);
        tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
        let resolved = users.resolve(&identity("okta", "sub")).await.unwrap();
        assert_eq!(resolved.user, user("alice"));
        assert_eq!(get(&tenant, "provider:4:okta:sub"), link);
        let new = users.resolve(&identity("okta", "new")).await;
        assert!(matches!(new, Err(Error::StoreUnavailable(_))), "{new:?}");
        tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
        users.resolve(&identity("okta", "sub")).await.unwrap();
        assert_ne!(
            get(&tenant, "provider:4:okta:sub"),
            link,
            "it is noted again"
        );
    }
}

/// A time of use that is wrong doesn't stay for ever: one that is still to come, and what is no time.
#[tokio::test]
async fn a_wrong_time_of_use_is_noted_again() {
    for wrong in ["9999999999", "-5", "1.5", "null", "1e3"] {
        let tenant = tenant();
        let link = SPELLINGS[0].replace("|@|", wrong);
        toolhives(&tenant, "alice", "sub", &link);
        let begun = now(&tenant);
        users(&tenant)
            .resolve(&identity("okta", "sub"))
            .await
            .unwrap();
        let text = get(&tenant, "provider:4:okta:sub");
        let is_noted = (begun..=now(&tenant))
            .any(|time| text == SPELLINGS[0].replace("|@|", &time.to_string()));
        assert!(is_noted, "{wrong} became {text}");
    }
}

/// A user whom no call can name is named by none: the auth server would be refused with each later call.
#[tokio::test]
async fn a_user_whom_no_call_takes_is_not_named() {
    let tenant = tenant();
    let long = "u".repeat(600);
    toolhives(
        &tenant,
        &long,
        "sub",
        &SPELLINGS[0].replace("alice", &long).replace("|@|", "5"),
    );
    let before = tenant.snapshot();
    let told = users(&tenant).unlink(&identity("okta", "none"), None).await;
    assert!(!told.unwrap(), "the control");
    assert!(tenant.snapshot() == before);
    let told = users(&tenant).resolve(&identity("okta", "sub")).await;
    assert!(matches!(told, Err(Error::RecordUnreadable(_))), "{told:?}");
}

/// Identities of others in a user's set take no room of that user: what counts is what is listed.
#[tokio::test]
async fn the_limit_counts_what_is_listed() {
    let tenant = tenant();
    toolhives(&tenant, "alice", "sub", &SPELLINGS[0].replace("|@|", "5"));
    let bobs = r#"{"user_id":"bob","provider_id":"okta","provider_subject":"x","linked_at":5,"last_used_at":5}"#;
    let set_of_alice = tenant.key("user:providers:alice");
    for number in 0..5 {
        let key = format!("provider:4:okta:bob{number}");
        set(&tenant, &key, bobs);
        tenant.run::<()>(&["SADD", &set_of_alice, &tenant.key(&key)]);
    }
    let users = users(&tenant);
    for number in 0..4 {
        let more = identity("more", &format!("{number}"));
        assert!(users.link(&more, &user("alice")).await.unwrap());
    }
    let full = users.link(&identity("more", "5"), &user("alice")).await;
    assert!(
        matches!(full, Err(Error::TooManyIdentities { limit: 5 })),
        "{full:?}"
    );
    let listed = users.list(&user("alice"), &Reach::default()).await.unwrap();
    assert_eq!(listed.len(), 5);
}
