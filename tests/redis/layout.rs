//! Tests keys and rows to the byte (guarantees, section 3): toolhive reads what the broker writes.

use testkit::{broker::Broker, redis_tenant::RedisTenant, rows::*, snapshot::Life};
use token_broker::types::{ClientId, Row, Subject, UnixTime};

use crate::tenant;

fn at(seconds: i64) -> Option<UnixTime> {
    UnixTime::from_seconds(seconds)
}

/// Returns the row at `key`. `V` and `T` replace the version and the time, which can't be
/// predicted.
fn text(tenant: &RedisTenant, key: &str, stored: &token_broker::types::StoredRow) -> String {
    let version = format!("\"version\":{}", stored.version.number());
    let updated = format!(
        "\"updated_at\":{}",
        stored.row.updated_at.unwrap().seconds()
    );
    let text = tenant.run::<String>(&["GET", &tenant.key(key)]);
    assert!(text.contains(&version) && text.contains(&updated), "{text}");
    text.replace(&version, "\"version\":V")
        .replace(&updated, "\"updated_at\":T")
}

#[tokio::test]
async fn a_row_with_all_fields() {
    let (tenant, key) = (tenant(), key("2f1d-9c", "corp-okta"));
    let broker = tenant.broker();
    let row = Row {
        access_token: secret("at \"1\" \\ é"),
        refresh_token: secret("rt"),
        id_token: secret("it"),
        token_type: "DPoP".to_owned(),
        scopes: vec!["openid".to_owned(), "repo:read".to_owned()],
        expires_at: at(4_000_000_000),
        session_expires_at: at(4_000_000_001),
        refresh_expires_at: at(4_000_000_002),
        user_id: Some(user("u-1")),
        upstream_subject: Subject::new("auth0|7").ok(),
        client_id: ClientId::new("client").ok(),
        ..Row::default()
    };
    broker.put(&key, &row).await;
    let stored = broker.read(&key).await.unwrap();
    let expected = concat!(
        r#"{"version":V,"user_id":"u-1","#,
        r#""provider_id":"corp-okta","access_token":"at \"1\" \\ é","#,
        r#""refresh_token":"rt","id_token":"it","expires_at":4000000000,"#,
        r#""session_expires_at":4000000001,"upstream_subject":"auth0|7","#,
        r#""client_id":"client","updated_at":T,"token_type":"DPoP","#,
        r#""scopes":["openid","repo:read"],"refresh_expires_at":4000000002}"#,
    );
    assert_eq!(
        text(&tenant, "upstream:2f1d-9c:corp-okta", &stored),
        expected
    );
}

/// A missing value is 0 or empty in toolhive's fields, and left out in the broker's own fields.
#[tokio::test]
async fn a_row_with_one_field() {
    let (tenant, key) = (tenant(), key("s", "p"));
    let broker = tenant.broker();
    broker.put(&key, &bare("at")).await;
    let stored = broker.read(&key).await.unwrap();
    let expected = concat!(
        r#"{"version":V,"user_id":"","provider_id":"p","access_token":"at","#,
        r#""refresh_token":"","id_token":"","expires_at":0,"session_expires_at":0,"#,
        r#""upstream_subject":"","client_id":"","updated_at":T}"#,
    );
    assert_eq!(text(&tenant, "upstream:s:p", &stored), expected);
}

/// There are the row and its two indexes, whose members are full keys, and no other key.
#[tokio::test]
async fn the_keys_of_a_row() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    broker.put(&key("s", "q"), &bare("at")).await;
    let snapshot = tenant.snapshot();
    let names = [
        "upstream:idx:s",
        "upstream:s:p",
        "upstream:s:q",
        "user:upstream:u",
    ];
    let [index, p, q, user_index] = names.map(|rest| tenant.key(rest));
    let expected = [&index, &p, &q, &user_index];
    assert!(
        snapshot.names().iter().eq(expected),
        "{:?}",
        snapshot.names()
    );
    assert!(snapshot.members(&index).iter().eq([&p, &q]));
    assert!(snapshot.members(&user_index).iter().eq([&p]));
    assert_eq!(snapshot.life(&q), Some(Life::Endless));

    broker.remove(&key("s", "p")).await;
    broker.remove(&key("s", "q")).await;
    assert_eq!(tenant.snapshot().names(), [""; 0], "nothing is left behind");
}

/// Plain ids appear in a key unchanged. Characters that could make two ids collide are
/// percent-encoded.
#[tokio::test]
async fn odd_ids_in_keys() {
    for (session, provider, user, row_key, user_key) in [
        ("a:b", "c", "x:y", "upstream:a%3Ab:c", "user:upstream:x%3Ay"),
        (
            "a",
            "b:c",
            "{u}",
            "upstream:a:b%3Ac",
            "user:upstream:%7Bu%7D",
        ),
        (
            "%3A",
            "100%",
            "%",
            "upstream:%253A:100%25",
            "user:upstream:%25",
        ),
        (
            "idx",
            "idx",
            "idx",
            "upstream:%69dx:idx",
            "user:upstream:idx",
        ),
        (
            "idx2",
            "p q",
            "a b",
            "upstream:idx2:p%20q",
            "user:upstream:a%20b",
        ),
        (
            "日本",
            "ü",
            "é/\\\"'*?[x]",
            "upstream:日本:ü",
            "user:upstream:é/\\\"'*?[x]",
        ),
    ] {
        let tenant = tenant();
        let broker: Broker<_> = tenant.broker();
        broker.put(&key(session, provider), &row(user, "at")).await;
        let snapshot = tenant.snapshot();
        let [row_key, user_key] = [row_key, user_key].map(|rest| tenant.key(rest));
        assert!(
            snapshot.text(&row_key).is_some(),
            "{row_key}: {:?}",
            snapshot.names()
        );
        assert!(
            snapshot.members(&user_key).contains(&row_key),
            "{:?}",
            snapshot.names()
        );
        tenant.audit();
        assert_eq!(
            broker
                .delete_user(&testkit::rows::user(user))
                .await
                .unwrap()
                .rows,
            1
        );
        assert!(tenant.snapshot().names().is_empty());
    }
}
