//! `DeleteUser` and `GetLatestForUser`.

use testkit::rows::*;
use token_broker::{error::Error, tokens::DeletedUser, types::Row};

use crate::backend::Backend;

/// All rows of the user in all sessions are deleted. Rows of other users in the same sessions stay.
pub async fn delete_user_takes_the_rows_of_one_user<B: Backend>(backend: B) {
    let broker = backend.broker();
    for number in 0..30 {
        let session = format!("s{number}");
        broker.put(&key(&session, "p"), &row("u", "at")).await;
        broker.put(&key(&session, "q"), &row("v", "at")).await;
        broker.put(&key(&session, "r"), &bare("at")).await;
    }
    let deleted = broker.delete_user(&user("u")).await.unwrap();
    assert_eq!(
        deleted,
        DeletedUser {
            rows: 30,
            identities: 0,
            existed: true
        }
    );
    for number in 0..30 {
        let left = broker.rows_of(&session(&format!("s{number}"))).await;
        assert!(left.keys().eq([&provider("q"), &provider("r")]));
    }
    assert!(broker.listed(&user("u")).await.is_empty());
    assert_eq!(broker.listed(&user("v")).await.len(), 30);
}

/// It is safe to repeat the call, and to name an unknown user.
pub async fn delete_user_of_nobody_is_no_error<B: Backend>(backend: B) {
    let broker = backend.broker();
    assert_eq!(
        broker.delete_user(&user("u")).await.unwrap(),
        DeletedUser::default()
    );
    broker.put(&key("s", "p"), &row("u", "at")).await;
    assert!(broker.delete_user(&user("u")).await.unwrap().existed);
    assert_eq!(
        broker.delete_user(&user("u")).await.unwrap(),
        DeletedUser::default()
    );
}

/// A row that has since been stored for another user is no longer the user's.
pub async fn delete_user_spares_a_row_that_changed_hands<B: Backend>(backend: B) {
    let broker = backend.broker();
    let key = key("s", "p");
    broker.put(&key, &row("alice", "1")).await;
    broker.put(&key, &row("bob", "2")).await;
    assert_eq!(
        broker.delete_user(&user("alice")).await.unwrap(),
        DeletedUser::default()
    );
    assert_eq!(access_token(&broker.read(&key).await.unwrap().row), "2");
}

/// The latest row is the one that expires last, of this user at this provider. Expired rows count
/// too.
pub async fn latest_is_the_one_that_expires_last<B: Backend>(backend: B) {
    let broker = backend.broker();
    let ends = [("s1", -60), ("s2", 60), ("s3", 600), ("s4", 30)];
    for (number, (session, end)) in ends.into_iter().enumerate() {
        let row = Row {
            expires_at: in_seconds(end),
            ..row("u", session)
        };
        broker.put(&key(session, "p"), &row).await;
        let far = Row {
            expires_at: in_seconds(9_000),
            ..row
        };
        broker.put(&key(session, "q"), &far).await;
        broker
            .put(
                &key("theirs", "p"),
                &Row {
                    user_id: Some(user("v")),
                    ..far
                },
            )
            .await;
        let latest = broker
            .latest_for_user(&user("u"), &provider("p"), &Default::default())
            .await
            .unwrap();
        let expected = ["s1", "s2", "s3", "s3"][number];
        assert_eq!(access_token(&latest.row), expected);
    }
}

/// A row without an expiry wins over all others.
pub async fn latest_prefers_what_does_not_expire<B: Backend>(backend: B) {
    let broker = backend.broker();
    let forever = Row {
        expires_at: None,
        ..row("u", "forever")
    };
    let long = Row {
        expires_at: in_seconds(9_999_999),
        ..row("u", "long")
    };
    for (session, row) in [("s1", &long), ("s2", &forever), ("s3", &long)] {
        broker.put(&key(session, "p"), row).await;
    }
    let latest = broker
        .latest_for_user(&user("u"), &provider("p"), &Default::default())
        .await
        .unwrap();
    assert_eq!(access_token(&latest.row), "forever");
}

/// A row without an access token counts as expired. It never wins over a row that has one.
pub async fn latest_prefers_what_has_an_access_token<B: Backend>(backend: B) {
    let broker = backend.broker();
    let tokenless = Row {
        access_token: None,
        expires_at: None,
        ..row("u", "none")
    };
    for (session, row) in [
        ("s1", &tokenless),
        ("s2", &row("u", "at")),
        ("s3", &tokenless),
    ] {
        broker.put(&key(session, "p"), row).await;
    }
    let latest = broker
        .latest_for_user(&user("u"), &provider("p"), &Default::default())
        .await
        .unwrap();
    assert_eq!(access_token(&latest.row), "at");
}

/// If the user has no row at the provider, the answer is `NOT_FOUND`.
pub async fn latest_of_no_row_is_not_found<B: Backend>(backend: B) {
    let broker = backend.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    for (user, provider) in [(user("u"), provider("q")), (user("v"), provider("p"))] {
        let latest = broker
            .latest_for_user(&user, &provider, &Default::default())
            .await;
        assert!(matches!(latest, Err(Error::UserRowNotFound)), "{latest:?}");
    }
}
