//! `Store`: what it writes, the version, and the conditions of a write.

use std::collections::HashSet;

use testkit::{broker::request, rows::*};
use token_broker::{error::Error, tokens::Precondition, types::*};

use crate::backend::Backend;

/// Every field is returned as it was sent, whatever characters it may have.
pub async fn store_keeps_every_field<B: Backend>(backend: B) {
    let broker = backend.broker();
    let full = Row {
        sealed: None,
        access_token: secret("at \"\\\u{2028}é日"),
        refresh_token: secret(" rt~\u{a0}{}"),
        id_token: secret("eyJhbGciOi.J9.e30"),
        token_type: "DPoP".to_owned(),
        scopes: vec!["repo".to_owned(), "user:email".to_owned()],
        expires_at: in_seconds(60),
        session_expires_at: in_seconds(120),
        refresh_expires_at: in_seconds(180),
        user_id: Some(user("u {1}:%")),
        upstream_subject: Subject::new("auth0|5f7c").ok(),
        client_id: ClientId::new("https://client.example/").ok(),
        updated_at: None,
        reauth: None,
        origin: None,
    };
    for (number, row) in [
        full,
        bare("at"),
        Row {
            id_token: secret("it"),
            ..Row::default()
        },
    ]
    .into_iter()
    .enumerate()
    {
        let key = key("s", &format!("p{number}"));
        let version = broker.put(&key, &row).await;
        let stored = broker.read(&key).await.unwrap();
        assert_eq!((sent(&stored.row), stored.version), (row, version));
    }
}

/// The broker sets the time of the write. A caller can't.
pub async fn store_notes_the_time<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let before = UnixTime::now();
    let claimed = Row {
        updated_at: in_seconds(-900),
        ..row("u", "at")
    };
    broker.put(&key, &claimed).await;
    let noted = broker.read(&key).await.unwrap().row.updated_at.unwrap();
    assert!(noted >= before && noted <= UnixTime::now());
}

/// The state of the old refresh token doesn't apply to the new one.
pub async fn store_makes_a_row_whole_again<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let refused = Row {
        reauth: Some(ReauthReason::Refused),
        ..row("u", "at")
    };
    broker.put(&key, &refused).await;
    assert_eq!(broker.read(&key).await.unwrap().row.reauth, None);
}

/// No field of the old row remains in the new one.
pub async fn store_replaces_the_row_whole<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let old = Row {
        id_token: secret("it"),
        session_expires_at: in_seconds(60),
        ..row("u", "old")
    };
    broker.put(&key, &old).await;
    broker.put(&key, &bare("new")).await;
    assert_eq!(sent(&broker.read(&key).await.unwrap().row), bare("new"));
}

/// `Store` returns the version that readers see.
pub async fn store_answers_the_version_that_is_read<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    for _ in 0..3 {
        let version = broker.put(&key, &row("u", "at")).await;
        assert_eq!(broker.version(&key).await, Some(version));
        let in_bulk = broker.rows_of(&key.session).await;
        assert_eq!(in_bulk[&key.provider].version, version);
    }
}

/// Every write makes another version, also of the same row and after a delete. A version is never
/// 0, and is below 2^53.
pub async fn no_version_comes_twice<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let mut seen = HashSet::new();
    for round in 0..100 {
        broker.put(&key, &row("u", "at")).await;
        let version = broker.version(&key).await.unwrap();
        assert!(seen.insert(version), "{version:?} came twice");
        assert!((1..1 << 53).contains(&version.number()));
        assert!(!version.may_come_back());
        if round % 3 == 0 {
            broker.remove(&key).await;
        }
    }
}

/// A caller with a version from before a delete can't overwrite the login that came after it.
pub async fn a_version_from_before_a_delete_fails<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "first")).await;
    let held = broker.version(&key).await.unwrap();
    broker.remove(&key).await;
    broker.put(&key, &row("u", "second")).await;

    let late = broker
        .put_if(&key, &row("u", "late"), Precondition::Version(held))
        .await;
    assert!(matches!(late, Err(Error::VersionMismatch)), "{late:?}");
    let deleted = broker.delete(&key, Some(held)).await;
    assert!(
        matches!(deleted, Err(Error::VersionMismatch)),
        "{deleted:?}"
    );
    assert_eq!(
        access_token(&broker.read(&key).await.unwrap().row),
        "second"
    );
}

/// A write with `version` only replaces the row that was read.
pub async fn a_version_is_good_for_one_write<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let first = broker.put(&key, &row("u", "1")).await;
    let second = broker
        .put_if(&key, &row("u", "2"), Precondition::Version(first))
        .await;
    assert_eq!(broker.version(&key).await, Some(second.unwrap()));
    let third = broker
        .put_if(&key, &row("u", "3"), Precondition::Version(first))
        .await;
    assert!(matches!(third, Err(Error::VersionMismatch)), "{third:?}");
    assert_eq!(access_token(&broker.read(&key).await.unwrap().row), "2");
}

/// `must_not_exist` writes only if there is no row, even if there was one before.
pub async fn must_not_exist_writes_only_where_nothing_is<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    for round in ["1", "2"] {
        let first = broker
            .put_if(&key, &row("u", round), Precondition::MustNotExist)
            .await;
        assert_eq!(broker.version(&key).await, Some(first.unwrap()));
        let again = broker
            .put_if(&key, &row("u", "no"), Precondition::MustNotExist)
            .await;
        assert!(matches!(again, Err(Error::RowExists)), "{again:?}");
        assert_eq!(access_token(&broker.read(&key).await.unwrap().row), round);
        broker.remove(&key).await;
    }
}

/// A refused write changes nothing: neither the row, nor its owner, nor other rows.
pub async fn a_refused_write_changes_nothing<B: Backend>(backend: B) {
    let broker = backend.broker_with(|rules| rules.limits.providers = 1);
    let key = key("s", "p");
    let stale = broker.put(&key, &row("alice", "1")).await;
    broker.put(&key, &row("alice", "2")).await;
    let before = backend.dump();

    let theirs = row("bob", "3");
    for precondition in [Precondition::Version(stale), Precondition::MustNotExist] {
        broker
            .put_if(&key, &theirs, precondition)
            .await
            .unwrap_err();
    }
    let second = RowKey {
        provider: provider("q"),
        ..key.clone()
    };
    broker.store(request(&second, &theirs)).await.unwrap_err();
    let large = Row {
        access_token: secret(&"x".repeat(32 * 1024 + 1)),
        ..theirs
    };
    broker.store(request(&key, &large)).await.unwrap_err();

    assert!(backend.dump() == before);
    assert_eq!(broker.listed(&user("alice")).await, [key]);
    assert!(broker.listed(&user("bob")).await.is_empty());
}
