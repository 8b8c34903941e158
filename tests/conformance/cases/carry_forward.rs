//! `carry_forward_refresh_token` (guarantees, section 2.1): which refresh token a row keeps if it
//! is stored without one.

use testkit::{
    broker::{Broker, request},
    rows::*,
};
use token_broker::{
    error::Error,
    store::Store,
    tokens::{Precondition, StoreTokens},
    types::{ReauthReason, Row, RowKey, StoredRow, Subject},
};

use crate::backend::Backend;

/// Returns a row of `user` from a provider that omits the refresh token.
fn silent(user: &str) -> Row {
    Row {
        refresh_token: None,
        ..row(user, "silent")
    }
}

/// Stores a row without a refresh token at `key`, and returns the one that it kept.
async fn kept<S: Store>(broker: &Broker<S>, key: &RowKey, row: &Row) -> String {
    broker.put_carrying(key, row).await;
    let StoredRow { row: stored, .. } = broker.read(key).await.unwrap();
    assert_eq!(access_token(&stored), access_token(row));
    refresh_token(&stored).to_owned()
}

/// Plants a row that needs a new login. No call can make such a row yet.
async fn put_in_need<S: Store>(broker: &Broker<S>, key: &RowKey, row: &Row, reason: ReauthReason) {
    let row = Row {
        reauth: Some(reason),
        ..row.clone()
    };
    let put = put_always(key, &row);
    broker.backend().put(put).await.unwrap();
}

/// A row keeps the token of the row that it replaces, again and again.
pub async fn carry_keeps_the_token_of_the_replaced_row<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "1")).await;
    for _ in 0..3 {
        assert_eq!(kept(&broker, &key, &silent("u")).await, "refresh-1");
    }
}

/// A token in the request is newer than all stored ones.
pub async fn carry_prefers_the_token_that_comes<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "1")).await;
    assert_eq!(kept(&broker, &key, &row("u", "2")).await, "refresh-2");
}

/// If the caller doesn't ask for it, no token is kept: the row is replaced completely.
pub async fn nothing_is_carried_unasked<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "1")).await;
    broker.put(&key, &silent("u")).await;
    assert_eq!(refresh_token(&broker.read(&key).await.unwrap().row), "");
}

/// A token keeps its expiry, and the row that keeps it expires with it.
pub async fn carry_keeps_the_end_of_the_token<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let ending = Row {
        refresh_expires_at: in_seconds(86_400),
        ..row("u", "1")
    };
    broker.put(&key, &ending).await;
    kept(&broker, &key, &silent("u")).await;
    let stored = broker.read(&key).await.unwrap().row;
    assert_eq!(stored.refresh_expires_at, ending.refresh_expires_at);
}

/// If no row is replaced, the token comes from the latest row of the user at the provider, in any
/// session.
pub async fn carry_falls_back_to_the_latest_row<B: Backend>(backend: B) {
    let broker = backend.broker();
    for (session, end) in [("s1", 60), ("s2", 6_000), ("s3", 600)] {
        let row = Row {
            expires_at: in_seconds(end),
            ..row("u", session)
        };
        broker.put(&key(session, "p"), &row).await;
        let elsewhere = Row {
            expires_at: None,
            ..row
        };
        broker.put(&key(session, "q"), &elsewhere).await;
    }
    assert_eq!(
        kept(&broker, &key("s4", "p"), &silent("u")).await,
        "refresh-s2"
    );
    // A row without a token is no source, and doesn't hide other sources.
    let last = Row {
        expires_at: in_seconds(9_000),
        ..silent("u")
    };
    broker.put(&key("s5", "p"), &last).await;
    assert_eq!(
        kept(&broker, &key("s5", "p"), &silent("u")).await,
        "refresh-s2"
    );
}

/// A token is never carried to another user or subject, neither from the replaced row nor from
/// another one.
pub async fn carry_never_crosses_users_or_subjects<B: Backend>(backend: B) {
    let broker = backend.broker();
    let theirs = row("alice", "alice");
    let other_user = silent("bob");
    let other_subject = Row {
        upstream_subject: Subject::new("second").ok(),
        ..silent("alice")
    };
    let nobody = Row {
        user_id: None,
        upstream_subject: None,
        ..silent("alice")
    };
    let no_subject = Row {
        upstream_subject: None,
        ..silent("alice")
    };
    for row in [other_user, other_subject, nobody, no_subject] {
        for target in [key("s", "p"), key("another", "p")] {
            broker.put(&key("s", "p"), &theirs).await;
            broker.put(&key("second", "p"), &theirs).await;
            assert_eq!(kept(&broker, &target, &row).await, "", "{:?}", row.user_id);
        }
        broker.delete_all(&session("another")).await.unwrap();
    }
}

/// A row that names no user keeps no token, not even that of the row that it replaces: nothing tells whose it is.
pub async fn carry_needs_a_user<B: Backend>(backend: B) {
    let broker = backend.broker();
    let unbound = |token: &str| Row {
        refresh_token: secret(token),
        ..bare("at")
    };
    let only_a_subject = Row {
        upstream_subject: Subject::new("subject-of-u").ok(),
        ..unbound("rt")
    };
    for theirs in [unbound("rt"), only_a_subject] {
        let silent = Row {
            refresh_token: None,
            ..theirs.clone()
        };
        broker.put(&key("s", "p"), &theirs).await;
        assert_eq!(kept(&broker, &key("t", "p"), &silent).await, "");
        assert_eq!(kept(&broker, &key("s", "p"), &silent).await, "");
    }
}

/// A token that has expired is kept only if no other one is known that hasn't. It expires as it did.
pub async fn carry_prefers_a_token_that_has_not_expired<B: Backend>(backend: B) {
    let broker = backend.broker();
    let ending = |token: &str, refresh_end, access_end| Row {
        refresh_expires_at: in_seconds(refresh_end),
        expires_at: in_seconds(access_end),
        ..row("u", token)
    };
    let target = key("s", "p");
    let over = ending("over", -5, 60);
    broker.put(&target, &over).await;
    assert_eq!(kept(&broker, &target, &silent("u")).await, "refresh-over");
    let stored = broker.read(&target).await.unwrap().row;
    assert_eq!(stored.refresh_expires_at, over.refresh_expires_at);

    // Another one that is over as well doesn't come before the row's own, nor before one that isn't.
    broker
        .put(&key("later", "p"), &ending("later", -5, 9_000))
        .await;
    assert_eq!(kept(&broker, &target, &silent("u")).await, "refresh-over");
    broker.put(&key("live", "p"), &ending("live", 60, 30)).await;
    assert_eq!(kept(&broker, &target, &silent("u")).await, "refresh-live");
    let fresh = key("new", "p");
    broker
        .put(&key("live", "p"), &ending("unknown", 60, 40))
        .await;
    assert_eq!(kept(&broker, &fresh, &silent("u")).await, "refresh-live");
}

/// A token that was refused, or may have been redeemed, is never carried.
pub async fn carry_never_takes_a_token_of_no_use<B: Backend>(backend: B) {
    let broker = backend.broker();
    for reason in [ReauthReason::Refused, ReauthReason::InDoubt] {
        put_in_need(&broker, &key("s", "p"), &row("u", "bad"), reason).await;
        put_in_need(&broker, &key("t", "p"), &row("u", "bad"), reason).await;
        assert_eq!(kept(&broker, &key("s", "p"), &silent("u")).await, "");
        assert_eq!(kept(&broker, &key("new", "p"), &silent("u")).await, "");
        broker
            .put(
                &key("good", "p"),
                &Row {
                    expires_at: in_seconds(5),
                    ..row("u", "good")
                },
            )
            .await;
        assert_eq!(
            kept(&broker, &key("s", "p"), &silent("u")).await,
            "refresh-good"
        );
        broker.delete_user(&user("u")).await.unwrap();
    }
}

/// If the provider rotates refresh tokens, only the token of the replaced row is carried. Two
/// sessions with one token would redeem it twice.
pub async fn carry_never_copies_a_rotating_token<B: Backend>(backend: B) {
    let broker = backend.broker();
    broker.put(&key("s", "rotating"), &row("u", "1")).await;
    assert_eq!(kept(&broker, &key("t", "rotating"), &silent("u")).await, "");
    assert_eq!(
        kept(&broker, &key("s", "rotating"), &silent("u")).await,
        "refresh-1"
    );
}

/// A condition of the caller counts as it does without carrying.
pub async fn carry_obeys_a_precondition<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let store = async |precondition| {
        let precondition = Some(precondition);
        let request = request(&key, &silent("u"));
        broker
            .store(StoreTokens {
                precondition,
                carry_forward: true,
                ..request
            })
            .await
    };
    broker
        .put(
            &RowKey {
                session: session("t"),
                ..key.clone()
            },
            &row("u", "other"),
        )
        .await;
    let first = store(Precondition::MustNotExist).await.unwrap();
    assert_eq!(
        refresh_token(&broker.read(&key).await.unwrap().row),
        "refresh-other"
    );
    let exists = store(Precondition::MustNotExist).await;
    assert!(matches!(exists, Err(Error::RowExists)), "{exists:?}");
    let second = store(Precondition::Version(first)).await.unwrap();
    assert_eq!(broker.version(&key).await, Some(second));
    let stale = store(Precondition::Version(first)).await;
    assert!(matches!(stale, Err(Error::VersionMismatch)), "{stale:?}");
    broker.remove(&key).await;
    let gone = store(Precondition::Version(second)).await;
    assert!(matches!(gone, Err(Error::VersionMismatch)), "{gone:?}");
}
