//! Tests the value `null`, a row without tokens. It is absent for every reader and every condition.

use testkit::{redis_tenant::RedisTenant, rows::*};
use token_broker::{
    error::Error,
    tokens::{DeletedUser, Precondition},
    types::Version,
};

use crate::tenant;

/// Stores a session with a good row and a `null` row, both of the user `u`.
async fn with_null_row() -> RedisTenant {
    let tenant = tenant();
    let broker = tenant.broker();
    for provider in ["good", "null"] {
        broker.put(&key("s", provider), &row("u", "at")).await;
    }
    tenant.write_row("upstream:s:null", "null");
    tenant
}

#[tokio::test]
async fn a_null_row_is_absent_to_readers() {
    let tenant = with_null_row().await;
    let broker = tenant.broker();
    assert_eq!(broker.read(&key("s", "null")).await, None);
    assert!(
        broker
            .rows_of(&session("s"))
            .await
            .keys()
            .eq([&provider("good")])
    );
    assert_eq!(broker.listed(&user("u")).await, [key("s", "good")]);
    let latest = broker
        .latest_for_user(&user("u"), &provider("null"), &Default::default())
        .await;
    assert!(matches!(latest, Err(Error::UserRowNotFound)), "{latest:?}");
}

#[tokio::test]
async fn a_null_row_is_absent_to_conditions() {
    let tenant = with_null_row().await;
    let (broker, key) = (tenant.broker(), key("s", "null"));
    let derived = Version::derived_from(b"null");
    for version in [derived, Version::random()] {
        let late = broker
            .put_if(&key, &row("u", "at"), Precondition::Version(version))
            .await;
        assert!(matches!(late, Err(Error::VersionMismatch)), "{late:?}");
    }
    broker
        .put_if(&key, &row("u", "at"), Precondition::MustNotExist)
        .await
        .unwrap();
    tenant.audit();
}

/// A delete removes a `null` row, and doesn't count it.
#[tokio::test]
async fn a_null_row_is_absent_to_deletes() {
    let tenant = with_null_row().await;
    let broker = tenant.broker();
    assert!(!broker.remove(&key("s", "null")).await);
    let tenant = with_null_row().await;
    let broker = tenant.broker();
    assert!(
        !broker
            .delete(&key("s", "null"), Some(Version::random()))
            .await
            .unwrap()
    );
    let tenant = with_null_row().await;
    let broker = tenant.broker();
    assert_eq!(broker.delete_all(&session("s")).await.unwrap(), 1);
    let tenant = with_null_row().await;
    let broker = tenant.broker();
    let deleted = broker.delete_user(&user("u")).await.unwrap();
    assert_eq!(
        deleted,
        DeletedUser {
            rows: 1,
            identities: 0,
            existed: true
        }
    );
}

/// A `null` row doesn't count towards the session's limit on providers.
#[tokio::test]
async fn a_null_row_takes_no_place_in_a_session() {
    let tenant = tenant();
    let broker = tenant.broker();
    for number in 0..64 {
        broker
            .put(&key("s", &format!("p{number}")), &row("u", "at"))
            .await;
    }
    tenant.write_row("upstream:s:p0", "null");
    broker.put(&key("s", "one-more"), &row("u", "at")).await;
    let full = broker
        .put_if(&key("s", "p0"), &row("u", "at"), Precondition::MustNotExist)
        .await;
    assert!(
        matches!(full, Err(Error::TooManyProviders { limit: 64 })),
        "{full:?}"
    );
    broker.remove(&key("s", "one-more")).await;
    broker.put(&key("s", "p0"), &row("u", "at")).await;
    assert_eq!(broker.rows_of(&session("s")).await.len(), 64);
}

/// A login without a refresh token over a `null` row carries one over from another session, as if
/// there were no row.
#[tokio::test]
async fn a_null_row_has_nothing_to_carry() {
    let tenant = with_null_row().await;
    let broker = tenant.broker();
    broker.put(&key("t", "null"), &row("u", "other")).await;
    let silent = token_broker::types::Row {
        refresh_token: None,
        ..row("u", "silent")
    };
    broker.put_carrying(&key("s", "null"), &silent).await;
    let stored = broker.read(&key("s", "null")).await.unwrap();
    assert_eq!(refresh_token(&stored.row), "refresh-other");
}
