//! Tests that rows that can't be decoded, and keys of another type, affect no other row (I8).

use testkit::{broker::request, redis_tenant::RedisTenant, rows::*};
use token_broker::{
    error::Error,
    tokens::{Binding, StoreTokens},
};

use crate::tenant;

/// Texts that aren't a row: truncated, of another form, with a wrong type, or of another provider.
const CORRUPT: [&str; 9] = [
    "",
    "{",
    "nul",
    "[]",
    "\"text\"",
    r#"{"access_token":7}"#,
    r#"{"expires_at":"soon"}"#,
    r#"{"provider_id":"another"}"#,
    r#"{"access_token":"at"}}"#,
];

/// Stores a session with a good row and a row that `spoil` breaks, both of the user `u`.
async fn with_bad_row(spoil: impl FnOnce(&RedisTenant)) -> RedisTenant {
    let tenant = tenant();
    let broker = tenant.broker();
    for provider in ["good", "bad"] {
        broker.put(&key("s", provider), &row("u", "at")).await;
    }
    spoil(&tenant);
    tenant
}

fn another_type(tenant: &RedisTenant) {
    let row = tenant.key("upstream:s:bad");
    tenant.run::<()>(&["DEL", &row]);
    tenant.run::<()>(&["HSET", &row, "access_token", "at"]);
}

async fn spoils_nothing(tenant: &RedisTenant, what: &str) {
    let broker = tenant.broker();
    let (good, bad) = (key("s", "good"), key("s", "bad"));
    let read = broker.get(&bad, &Binding::default()).await;
    assert!(
        matches!(read, Err(Error::RowUnreadable(_))),
        "{what}: {read:?}"
    );
    let found = broker
        .get_all(&bad.session, &Binding::default(), &Default::default())
        .await
        .unwrap();
    assert_eq!(
        found.unreadable,
        std::slice::from_ref(&bad.provider),
        "{what}"
    );
    assert!(found.rows.keys().eq([&good.provider]), "{what}");
    assert_eq!(
        broker.listed(&user("u")).await,
        std::slice::from_ref(&good),
        "{what}"
    );
    broker
        .latest_for_user(&user("u"), &good.provider, &Default::default())
        .await
        .unwrap();
    let latest = broker
        .latest_for_user(&user("u"), &bad.provider, &Default::default())
        .await;
    assert!(latest.is_err(), "{what}: {latest:?}");
}

#[tokio::test]
async fn i8_a_corrupt_row_spoils_nothing() {
    for text in CORRUPT {
        let tenant = with_bad_row(|tenant| tenant.write_row("upstream:s:bad", text)).await;
        spoils_nothing(&tenant, text).await;
    }
}

#[tokio::test]
async fn i8_a_key_of_another_type_spoils_nothing() {
    let tenant = with_bad_row(another_type).await;
    spoils_nothing(&tenant, "a hash").await;
}

/// The row holds bytes that aren't UTF-8, which a `&str` can't hold.
#[tokio::test]
async fn i8_bytes_that_are_no_text_spoil_nothing() {
    let tenant = with_bad_row(|tenant| {
        let mut set = redis::cmd("SET");
        set.arg(tenant.key("upstream:s:bad"))
            .arg(b"{\"access_token\":\"\xff\xfe\"}");
        set.exec(&mut tenant.raw()).unwrap();
    })
    .await;
    spoils_nothing(&tenant, "no UTF-8").await;
}

/// A login replaces an unreadable row, even if it would carry a token forward, and a delete deletes
/// it. No user is locked out.
#[tokio::test]
async fn what_cannot_be_read_can_be_replaced_and_deleted() {
    for carry_forward in [false, true] {
        for text in CORRUPT.iter().map(Some).chain([None]) {
            let spoil = |tenant: &RedisTenant| match text {
                Some(text) => tenant.write_row("upstream:s:bad", text),
                None => another_type(tenant),
            };
            let tenant = with_bad_row(spoil).await;
            let (broker, bad) = (tenant.broker(), key("s", "bad"));
            let silent = token_broker::types::Row {
                refresh_token: None,
                ..row("u", "new")
            };
            let request = StoreTokens {
                carry_forward,
                ..request(&bad, &silent)
            };
            let stored = broker.store(request).await;
            assert!(
                stored.is_ok(),
                "{text:?}, carry_forward {carry_forward}: {stored:?}"
            );
            assert_eq!(broker.version(&bad).await, stored.ok());
            tenant.audit();
        }
    }
    for text in CORRUPT.iter().map(Some).chain([None]) {
        let spoil = |tenant: &RedisTenant| match text {
            Some(text) => tenant.write_row("upstream:s:bad", text),
            None => another_type(tenant),
        };
        let tenant = with_bad_row(spoil).await;
        let broker = tenant.broker();
        assert!(broker.remove(&key("s", "bad")).await, "{text:?}");
        assert_eq!(broker.read(&key("s", "bad")).await, None);
        let tenant = with_bad_row(spoil).await;
        assert_eq!(
            tenant.broker().delete_all(&session("s")).await.unwrap(),
            2,
            "{text:?}"
        );
    }
}

/// `DeleteUser` also deletes a row in the user's index of which nobody can tell whose it is. If it only left the index,
/// no later call would find it.
#[tokio::test]
async fn delete_user_takes_what_cannot_be_read() {
    for text in CORRUPT.iter().map(Some).chain([None]) {
        let tenant = with_bad_row(|tenant| match text {
            Some(text) => tenant.write_row("upstream:s:bad", text),
            None => another_type(tenant),
        })
        .await;
        let deleted = tenant.broker().delete_user(&user("u")).await.unwrap();
        assert_eq!(deleted.rows, 2, "{text:?}");
        assert_eq!(tenant.snapshot().names(), [""; 0], "{text:?}");
    }
}

/// The index of a session isn't a set, and lives for ever. That hides no row from `DeleteUser`, and doesn't end it after
/// its first write.
#[tokio::test]
async fn i2_delete_user_goes_on_at_a_session_index_of_another_type() {
    let tenant = with_bad_row(|tenant| {
        tenant.run::<()>(&["SET", &tenant.key("upstream:idx:s"), "no set"]);
    })
    .await;
    let deleted = tenant.broker().delete_user(&user("u")).await;
    let left = tenant.snapshot();
    let index = tenant.key("upstream:idx:s");
    assert_eq!(left.names(), [index.as_str()], "{deleted:?}");
    deleted.unwrap();
}

/// Neither the error that a caller gets nor the log quotes the row.
#[tokio::test]
async fn an_unreadable_row_is_not_quoted() {
    let tenant = with_bad_row(|tenant| {
        tenant.write_row(
            "upstream:s:bad",
            r#"{"access_token":"gho_secret","expires_at":"gho_x"}"#,
        );
    })
    .await;
    let error = tenant
        .broker()
        .get(&key("s", "bad"), &Binding::default())
        .await
        .unwrap_err();
    let told = format!("{error} {error:?} {:?}", error.operator_detail());
    assert!(!told.contains("gho_"), "{told}");
}

/// The index isn't a set. A write that needs it fails before it writes anything. A delete removes
/// the row completely, or doesn't change it.
#[tokio::test]
async fn an_index_of_another_type_halves_no_write() {
    for index in ["upstream:idx:s", "user:upstream:u"] {
        let spoil = |tenant: &RedisTenant| {
            tenant.run::<()>(&["SET", &tenant.key(index), "no set"]);
        };
        let tenant = with_bad_row(spoil).await;
        let broker = tenant.broker();
        let before = tenant.snapshot();
        broker
            .store(request(&key("s", "new"), &row("u", "at")))
            .await
            .unwrap_err();
        assert!(
            tenant.snapshot() == before,
            "{index}: a failed write wrote something"
        );

        // This moves the row to another user, away from the broken index.
        let moved = broker
            .store(request(&key("s", "good"), &row("v", "moved")))
            .await;
        let is_moved = broker.read(&key("s", "good")).await.unwrap().row.user_id == Some(user("v"));
        assert_eq!(is_moved, moved.is_ok(), "{index}: {moved:?}");
        let deleted = broker.delete(&key("s", "bad"), None).await;
        let is_gone = broker.read(&key("s", "bad")).await.is_none();
        assert_eq!(is_gone, deleted.is_ok(), "{index}: {deleted:?}");
    }
}
