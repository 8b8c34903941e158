//! Tests toolhive next to the broker. Toolhive may overwrite a row at any moment, without the
//! broker's fields.

use testkit::{redis_tenant::RedisTenant, rows::*};
use token_broker::{
    error::Error,
    tokens::Precondition,
    types::{Row, UnixTime, Version},
};

use crate::tenant;

/// Returns a row as toolhive spells it.
fn toolhives(user: &str, access_token: &str) -> String {
    format!(
        concat!(
            r#"{{"provider_id":"p","access_token":"{}","refresh_token":"rt","id_token":"","#,
            r#""expires_at":4000000000,"session_expires_at":0,"user_id":"{}","#,
            r#""upstream_subject":"sub","client_id":"client"}}"#
        ),
        access_token, user
    )
}

/// Adds a row as toolhive does: three keys, one after the other, without an expiry.
fn toolhive_stores(tenant: &RedisTenant, session: &str, user: &str, access_token: &str) {
    let row = tenant.key(&format!("upstream:{session}:p"));
    tenant.run::<()>(&["SET", &row, &toolhives(user, access_token)]);
    tenant.run::<()>(&[
        "SADD",
        &tenant.key(&format!("upstream:idx:{session}")),
        &row,
    ]);
    tenant.run::<()>(&["SADD", &tenant.key(&format!("user:upstream:{user}")), &row]);
}

/// A row that toolhive wrote is found in every way, has a version, and can be changed like any
/// other row.
#[tokio::test]
async fn a_row_of_toolhives_is_served() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    toolhive_stores(&tenant, "s", "u", "at");
    let stored = broker.read(&key).await.unwrap();
    let expected = Row {
        access_token: secret("at"),
        refresh_token: secret("rt"),
        expires_at: UnixTime::from_seconds(4_000_000_000),
        ..row("u", "at")
    };
    assert_eq!(
        (access_token(&stored.row), refresh_token(&stored.row)),
        ("at", "rt")
    );
    assert_eq!(stored.row.expires_at, expected.expires_at);
    assert_eq!(
        (stored.row.updated_at, stored.row.token_type.as_str()),
        (None, "")
    );
    assert_eq!(broker.rows_of(&key.session).await[&key.provider], stored);
    assert_eq!(broker.listed(&user("u")).await, std::slice::from_ref(&key));
    let latest = broker
        .latest_for_user(&user("u"), &key.provider, &Default::default())
        .await
        .unwrap();
    assert_eq!(latest, stored);

    let next = broker
        .put_if(&key, &expected, Precondition::Version(stored.version))
        .await;
    assert_eq!(broker.version(&key).await, Some(next.unwrap()));
    tenant.audit();
    toolhive_stores(&tenant, "s", "u", "again");
    assert_eq!(broker.delete_user(&user("u")).await.unwrap().rows, 1);
    assert!(tenant.snapshot().names().is_empty());
}

/// Each rewrite with other content makes a new version. A write or a delete on the condition of an
/// earlier version fails.
#[tokio::test]
async fn every_rewrite_is_a_new_version() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    let mut held = vec![broker.put(&key, &row("u", "0")).await];
    for rewrite in 1..=5 {
        tenant.write_row("upstream:s:p", &toolhives("u", &rewrite.to_string()));
        let version = broker.version(&key).await.unwrap();
        assert!(!held.contains(&version), "a version came twice");
        for earlier in &held {
            let late = broker
                .put_if(&key, &row("u", "late"), Precondition::Version(*earlier))
                .await;
            assert!(matches!(late, Err(Error::VersionMismatch)), "{late:?}");
            let late = broker.delete(&key, Some(*earlier)).await;
            assert!(matches!(late, Err(Error::VersionMismatch)), "{late:?}");
        }
        held.push(version);
    }
    let stored = broker.read(&key).await.unwrap();
    assert_eq!(access_token(&stored.row), "5");
    assert!(broker.delete(&key, Some(stored.version)).await.unwrap());
}

/// The scripts and the broker agree on the version of any row, however it is spelled. A caller can
/// use a version that it has read as the condition of a write.
#[tokio::test]
async fn any_version_that_is_read_can_be_written_on() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    for text in [
        "{}",
        r#"{"access_token":"a"}"#,
        r#"{"version":7}"#,
        r#"{"version":7.0}"#,
        r#"{"version":7e0}"#,
        r#"{"version":7.5}"#,
        r#"{"version":0}"#,
        r#"{"version":-1}"#,
        r#"{"version":9007199254740991}"#,
        r#"{"version":9007199254740992}"#,
        r#"{"version":9007199254740993}"#,
        r#"{"version":18446744073709551615}"#,
        r#"{"version":1e300}"#,
        r#"{"version":"7"}"#,
        r#"{"version":null}"#,
        r#"{"version":true}"#,
        r#"{"version":[7]}"#,
        r#" { "version" : 8 } "#,
        r#"{"version":4503599627370497.5}"#,
        r#"{"access_token":"\u00e9\ud83d\ude00","scopes":[],"x":{"y":[1,{}]}}"#,
    ] {
        tenant.write_row("upstream:s:p", text);
        let version = broker.version(&key).await.unwrap();
        let written = broker
            .put_if(&key, &row("u", "at"), Precondition::Version(version))
            .await;
        assert!(written.is_ok(), "{text}: {written:?}");
    }
}

/// Missing, null and unknown fields do no harm.
#[tokio::test]
async fn what_a_row_may_lack_and_have() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    let [now, nulls] = [
        r#"{"access_token":"at","unknown":{"deep":[1,2.50,{"x":null}]},"user_id":"u"}"#,
        concat!(
            r#"{"provider_id":null,"access_token":"at","refresh_token":null,"id_token":null,"#,
            r#""expires_at":null,"session_expires_at":null,"user_id":"u","scopes":null,"#,
            r#""upstream_subject":null,"client_id":null,"version":null,"token_type":null}"#
        ),
    ];
    for text in [now, nulls] {
        tenant.write_row("upstream:s:p", text);
        let stored = broker.read(&key).await.unwrap().row;
        assert_eq!(
            stored,
            Row {
                user_id: Some(user("u")),
                ..bare("at")
            }
        );
    }
    tenant.write_row("upstream:s:p", r#"{"expires_at":-5,"access_token":"at"}"#);
    let stored = broker.read(&key).await.unwrap().row;
    assert!(
        stored.is_expired(UnixTime::now()),
        "an odd time expires a row"
    );
}

/// A caller races with toolhive. However the two interleave, the caller never overwrites a write of
/// toolhive's that it hasn't seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_in_between_is_never_overwritten_unseen() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    tenant.write_row("upstream:s:p", &toolhives("u", "0"));
    let writer = {
        let tenant = tenant.clone();
        tokio::task::spawn_blocking(move || {
            let mut raw = tenant.raw();
            for number in 1..=400 {
                let mut set = redis::cmd("SET");
                set.arg(tenant.key("upstream:s:p"))
                    .arg(toolhives("u", &number.to_string()));
                set.exec(&mut raw).unwrap();
            }
        })
    };
    // Each write of the broker repeats the number that it has read, so the number never decreases.
    let (mut last, mut written) = (0, 0);
    while !writer.is_finished() || written == 0 {
        let stored = broker.read(&key).await.unwrap();
        let number: u32 = access_token(&stored.row).parse().unwrap();
        assert!(number >= last, "a write was undone: {number} after {last}");
        last = number;
        let again = row("u", &number.to_string());
        let on: Version = stored.version;
        if broker
            .put_if(&key, &again, Precondition::Version(on))
            .await
            .is_ok()
        {
            written += 1;
        }
    }
    writer.await.unwrap();
    assert_eq!(access_token(&broker.read(&key).await.unwrap().row), "400");
}
