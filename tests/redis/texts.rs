//! What no caller may store, because it breaks the rule for a text, is served to none. Whoever writes to Redis may write it, and so
//! did earlier versions.

use testkit::{redis_tenant::RedisTenant, rows::*};
use token_broker::{
    error::Error,
    store::{Identities, Store},
    tokens::Binding,
    types::{Reach, Row},
};

use crate::tenant;

/// A row as toolhive spells it, and as a broker does, with another value of a field.
fn spelled(field: &str, value: &str) -> [String; 2] {
    let own = format!(r#""{field}":"#);
    let texts = [
        ("provider_id", r#""p""#),
        ("access_token", r#""at""#),
        ("refresh_token", r#""rt""#),
        ("id_token", r#""""#),
        ("expires_at", "4000000000"),
        ("session_expires_at", "0"),
        ("upstream_subject", r#""sub""#),
        ("client_id", r#""client""#),
        ("token_type", r#""Bearer""#),
        ("scopes", r#"["s"]"#),
    ];
    let texts = texts.map(|(name, usual)| match name == field {
        true => format!("{own}{value}"),
        false => format!(r#""{name}":{usual}"#),
    });
    let user = if field == "user_id" { value } else { r#""u""# };
    let texts = texts.join(",");
    [
        format!(r#"{{{texts},"user_id":{user}}}"#),
        format!(r#"{{"version":7,"user_id":{user},{texts}}}"#),
    ]
}

/// Writes a row into all places in which toolhive has it.
fn plant(tenant: &RedisTenant, row: &str, text: &str) {
    let key = tenant.key(&format!("upstream:{row}"));
    let (session, _) = row.split_once(':').unwrap();
    tenant.run::<()>(&["SET", &key, text]);
    for index in [
        format!("upstream:idx:{session}"),
        "user:upstream:u".to_owned(),
    ] {
        tenant.run::<()>(&["SADD", &tenant.key(&index), &key]);
    }
}

#[tokio::test]
async fn a_row_whose_texts_no_caller_may_store_is_unreadable() {
    let (tenant, key) = (tenant(), key("s", "p"));
    let (broker, sibling) = (tenant.broker(), testkit::rows::key("s", "sibling"));
    let long = format!(r#""{}""#, "c".repeat(5_000));
    let is_read = async |text: &str| {
        plant(&tenant, "s:p", text);
        let (any, all) = (Binding::default(), Reach::default());
        let all = broker.get_all(&key.session, &any, &all).await.unwrap();
        assert!(all.rows.contains_key(&sibling.provider), "{text}");
        let one = broker.get(&key, &Binding::default()).await;
        let is_read = one.is_ok();
        assert!(
            is_read || matches!(one, Err(Error::RowUnreadable(_))),
            "{one:?}"
        );
        assert_eq!(all.rows.contains_key(&key.provider), is_read, "{text}");
        assert_eq!(
            all.unreadable.contains_key(&key.provider),
            !is_read,
            "{text}"
        );
        is_read
    };
    broker.put(&sibling, &row("u", "at")).await;
    for (field, value) in [
        ("access_token", r#""a\r\nX-Admin: 1""#),
        ("access_token", r#""\u0000""#),
        ("access_token", "\"a\u{7f}\""),
        ("refresh_token", r#""a\n""#),
        ("id_token", r#""a\u0085""#),
        ("token_type", r#""Bearer\r\nX-Admin: 1""#),
        ("scopes", r#"["s","c\nd"]"#),
        ("scopes", r#"["a b"]"#),
        ("user_id", r#""u\nv""#),
        ("upstream_subject", r#""s\nx""#),
        ("client_id", r#""c\nd""#),
        ("client_id", &long),
    ] {
        for text in spelled(field, value) {
            assert!(!is_read(&text).await, "{text}");
        }
    }
    // What toolhive writes has none of it, and what else a provider may give out is opaque.
    for (field, value) in [
        ("access_token", r#""ya29.a0Af/_-+=~ ü""#),
        ("upstream_subject", r#""auth0|5f7c8e:{x} %41""#),
        (
            "client_id",
            r#""https://client.example/metadata.json?a=b c""#,
        ),
        ("token_type", r#""""#),
        ("scopes", "null"),
    ] {
        for text in spelled(field, value) {
            assert!(is_read(&text).await, "{text}");
        }
    }
    // Who logs in again replaces such a row, and it can be deleted.
    let [bad, _] = spelled("token_type", r#""\n""#);
    assert!(!is_read(&bad).await);
    broker.put(&key, &row("u", "new")).await;
    assert!(broker.read(&key).await.is_some());
    assert!(!is_read(&bad).await);
    assert!(broker.remove(&key).await);
}

/// An earlier version sealed what it was given.
#[tokio::test]
async fn a_token_that_no_caller_may_store_is_not_served_from_an_envelope() {
    let tenant = tenant();
    let broker = tenant.sealed_broker(&["k"]);
    for (n, token) in ["a\r\nX-Admin: 1", "\0", "a\u{7f}", "good ü"]
        .into_iter()
        .enumerate()
    {
        for field in 0..3 {
            let key = key(&format!("s{n}"), "p");
            let mut row = Row {
                access_token: secret("at"),
                ..row("u", "at")
            };
            *[
                &mut row.access_token,
                &mut row.refresh_token,
                &mut row.id_token,
            ][field] = secret(token);
            broker.put(&key, &row).await;
            let read = broker.get(&key, &Binding::default()).await;
            match token.starts_with("good") {
                true => assert!(read.is_ok(), "{read:?}"),
                false => assert!(
                    matches!(read, Err(Error::RowUnreadable(_))),
                    "{token:?} {read:?}"
                ),
            }
        }
    }
}

/// The key of a row holds texts as well: those of its session and its provider.
#[tokio::test]
async fn a_row_that_no_call_can_name_is_told_of_to_none_and_deleted_with_its_user() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    broker.put(&key, &row("u", "at")).await;
    let [text, _] = spelled("client_id", r#""c""#);
    let long = "x".repeat(513);
    let odd = [
        "t%0A:p".to_owned(),
        "s:%0D%0AX".to_owned(),
        format!("{long}:p"),
        format!("s:{long}"),
    ];
    for odd in &odd {
        // It names the provider in its key.
        plant(&tenant, odd, &text.replace(r#""provider_id":"p","#, ""));
    }
    assert_eq!(broker.listed(&user("u")).await, std::slice::from_ref(&key));
    let all = broker.rows_of(&key.session).await;
    assert!(all.into_keys().eq([key.provider]));
    let deleted = tenant.store().delete_user_rows(&user("u")).await.unwrap();
    assert_eq!(deleted.count, 5);
    for odd in &odd {
        let left: bool = tenant.run(&["EXISTS", &tenant.key(&format!("upstream:{odd}"))]);
        assert!(!left, "{odd}");
    }
}

/// So does the key of an identity.
#[tokio::test]
async fn an_identity_that_no_call_can_name_is_not_listed() {
    let tenant = tenant();
    let link = r#"{"user_id":"u","provider_id":"okta","provider_subject":"x","linked_at":1,"last_used_at":1}"#;
    let long = "x".repeat(513);
    for (key, json) in [
        ("provider:4:okta:good".to_owned(), link),
        ("provider:4:okta:a\nb".to_owned(), link),
        (format!("provider:4:okta:{long}"), link),
        ("provider:2:a\n:x".to_owned(), link),
    ] {
        let key = tenant.key(&key);
        tenant.run::<()>(&["SET", &key, json]);
        tenant.run::<()>(&["SADD", &tenant.key("user:providers:u"), &key]);
    }
    let listed = tenant.store().identities(&user("u")).await.unwrap();
    let subjects: Vec<_> = listed.iter().map(|one| one.key.subject.as_str()).collect();
    assert_eq!(subjects, ["good"]);
}
