//! Tests the invariants (guarantees, section 3.2) with one caller at a time.

use std::time::Duration;

use testkit::{rows::*, waiting::until};
use token_broker::{
    error::Error,
    tokens::{Binding, Precondition},
    types::{Row, RowKey},
};

use crate::backend::Backend;

/// A reader who finds a row by its session or by its user finds it the other way too.
pub async fn i1_a_row_is_found_by_session_and_by_user<B: Backend>(backend: B) {
    let broker = backend.broker();
    let keys = [key("s", "p"), key("s", "q"), key("t", "p")];
    for (stored, new) in keys.iter().enumerate() {
        broker.put(new, &row("u", "at")).await;
        for key in &keys[..=stored] {
            let rows = broker.rows_of(&key.session).await;
            assert!(
                rows.contains_key(&key.provider),
                "I1: missing in its session"
            );
        }
        let listed = broker.listed(&user("u")).await;
        assert_eq!(listed, keys[..=stored], "I1: missing at its user");
    }
}

/// A row that is stored for another user, or for none, moves. The listing and `DeleteUser` of the
/// old user no longer reach it, and those of the new user do.
pub async fn i1_a_row_moves_with_its_user<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    for owner in ["alice", "bob", "", "alice"] {
        let row = if owner.is_empty() {
            bare("at")
        } else {
            row(owner, "at")
        };
        broker.put(&key, &row).await;
        for name in ["alice", "bob"] {
            let listed = broker.listed(&user(name)).await;
            assert_eq!(
                !listed.is_empty(),
                name == owner,
                "I1: {owner:?}'s row at {name}"
            );
            let index = backend.user_index_size(&user(name)).await;
            assert_eq!(
                index > 0,
                name == owner,
                "I1: {owner:?}'s row in {name}'s index"
            );
        }
        assert_eq!(
            broker.rows_of(&key.session).await.len(),
            1,
            "I1: the session's index"
        );
    }
}

/// After `Delete` no index has the row.
pub async fn i1_a_deleted_row_is_in_no_index<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "at")).await;
    broker.remove(&key).await;
    assert_eq!(
        backend.user_index_size(&user("u")).await,
        0,
        "I1: the user's index"
    );
    broker.put(&key, &row("u", "at")).await;
    broker.delete_all(&key.session).await.unwrap();
    assert_eq!(
        backend.user_index_size(&user("u")).await,
        0,
        "I1: the user's index"
    );
}

/// `DeleteUser` deletes all rows, however many there are: it forgets no page, batch or session.
pub async fn i3_delete_user_leaves_no_row_in_any_session<B: Backend>(backend: B) {
    let broker = backend.broker();
    let mut keys = Vec::new();
    for number in 0..600 {
        keys.push(key(
            &format!("s{}", number / 2),
            &format!("p{}", number % 2),
        ));
    }
    for key in &keys {
        broker.put(key, &row("u", "at")).await;
    }
    let deleted = broker.delete_user(&user("u")).await.unwrap();
    for key in &keys {
        assert_eq!(
            broker.read(key).await,
            None,
            "I3: a row is readable after DeleteUser"
        );
    }
    assert_eq!(deleted.rows, 600, "I3: rows counted");
}

/// A refresh writes on the condition of the version that it began with. It neither brings back a
/// row that was deleted meanwhile nor overwrites one that was stored again.
pub async fn i4_a_refresh_never_undoes_what_came_after_it<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "1")).await;
    let began_with = Precondition::Version(broker.version(&key).await.unwrap());
    broker.remove(&key).await;
    let late = broker
        .put_if(&key, &row("u", "refreshed"), began_with)
        .await;
    assert!(matches!(late, Err(Error::VersionMismatch)), "I4: {late:?}");
    assert_eq!(broker.read(&key).await, None, "I4: a deleted row came back");

    let login = broker.put(&key, &row("u", "2")).await;
    let late = broker
        .put_if(&key, &row("u", "refreshed"), began_with)
        .await;
    assert!(matches!(late, Err(Error::VersionMismatch)), "I4: {late:?}");
    assert_eq!(
        broker.version(&key).await,
        Some(login),
        "I4: a newer row was overwritten"
    );
}

/// A user logs in again and again. The size of the index stays close to the number of live rows.
pub async fn i5_the_index_forgets_rows_that_died<B: Backend>(backend: B) {
    const ALIVE: usize = 100;
    let broker = backend.broker();
    let u = user("u");
    for day in 0..15 {
        let mut last = None;
        for login in 0..ALIVE {
            let key = key(&format!("s-{day}-{login}"), "p");
            broker
                .put_for(&key, &row("u", "at"), Duration::from_millis(20))
                .await;
            last = Some(key);
        }
        let last = last.unwrap();
        until("the day's rows die", async || {
            broker.read(&last).await.is_none()
        })
        .await;
    }
    for login in 0..ALIVE {
        broker
            .put(&key(&format!("s-today-{login}"), "p"), &row("u", "at"))
            .await;
    }
    let size = backend.user_index_size(&u).await;
    assert!(
        size <= 2 * ALIVE + 8,
        "I5: an index of {size} for {ALIVE} rows"
    );
    assert_eq!(broker.listed(&u).await.len(), ALIVE);
    let size = backend.user_index_size(&u).await;
    assert_eq!(size, ALIVE, "I5: a reader found dead members and left them");
}

/// Pairs and users have ids that look alike if they are joined, cut, or decoded once too often.
pub async fn i6_ids_that_look_alike_never_meet<B: Backend>(backend: B) {
    const ODD: [&str; 24] = [
        "a", "b", "a:b", "b:a", ":", "::", "a:", ":a", "a b", "a%3Ab", "%3A", "%", "%25", "%253A",
        "idx", "%69dx", "idx:a", "{a}", "{", "}", "A", "á", "a\u{301}", "日本",
    ];
    let broker = backend.broker();
    let name = |session: &str, provider: &str| format!("{session} | {provider}");
    for session in ODD {
        for provider in ODD {
            broker
                .put(
                    &key(session, provider),
                    &row(session, &name(session, provider)),
                )
                .await;
        }
    }
    for session in ODD {
        let rows = broker.rows_of(&self::session(session)).await;
        assert_eq!(rows.len(), ODD.len(), "I6: the rows of {session:?}");
        for (provider, stored) in rows {
            let expected = name(session, provider.as_str());
            assert_eq!(
                access_token(&stored.row),
                expected,
                "I6: a row of another pair"
            );
        }
        assert_eq!(
            broker.listed(&user(session)).await.len(),
            ODD.len(),
            "I6: user {session:?}"
        );
    }
    for (gone, session) in ODD.iter().enumerate() {
        let deleted = broker.delete_user(&user(session)).await.unwrap();
        assert_eq!(
            deleted.rows as usize,
            ODD.len(),
            "I6: DeleteUser({session:?})"
        );
        for other in &ODD[gone + 1..] {
            let rows = broker.rows_of(&self::session(other)).await;
            assert_eq!(
                rows.len(),
                ODD.len(),
                "I6: {other:?} lost rows with {session:?}"
            );
        }
    }
}

/// One row that can't be decoded is named, and affects no other row.
pub async fn i8_an_unreadable_row_spoils_no_other<B: Backend>(backend: B) {
    let broker = backend.broker();
    let [good, bad, alone] = [key("s", "good"), key("s", "bad"), key("t", "bad")];
    for key in [&good, &bad, &alone] {
        broker.put(key, &row("u", "at")).await;
    }
    if !(backend.spoil(&bad) && backend.spoil(&alone)) {
        return;
    }
    let read = broker.get(&bad, &Binding::default()).await;
    assert!(matches!(read, Err(Error::RowUnreadable(_))), "I8: {read:?}");
    let found = broker
        .get_all(&good.session, &Binding::default(), &Default::default())
        .await;
    let found = found.expect("I8: GetAll fails for one row");
    assert_eq!(
        found.unreadable,
        std::slice::from_ref(&bad.provider),
        "I8: named"
    );
    assert!(found.rows.keys().eq([&good.provider]), "I8: its sibling");
    assert_eq!(broker.listed(&user("u")).await, [good], "I8: the listing");

    let latest = broker
        .latest_for_user(&user("u"), &bad.provider, &Default::default())
        .await;
    assert!(
        matches!(latest, Err(Error::RowUnreadable(_))),
        "I8: {latest:?}"
    );
    let readable = RowKey {
        provider: bad.provider.clone(),
        ..key("v", "p")
    };
    broker.put(&readable, &row("u", "readable")).await;
    let latest = broker
        .latest_for_user(&user("u"), &bad.provider, &Default::default())
        .await;
    let latest = latest.expect("I8: a readable row is there");
    assert_eq!(access_token(&latest.row), "readable", "I8");

    // It can be replaced and deleted like any other row.
    broker.put(&bad, &row("u", "new")).await;
    assert_eq!(broker.rows_of(&bad.session).await.len(), 2, "I8: replaced");
    assert!(broker.remove(&alone).await, "I8: deleted");
}

/// No read changes the data, whether it succeeds or not.
pub async fn i9_reads_change_nothing<B: Backend>(backend: B) {
    let broker = backend.broker();
    let expired = Row {
        expires_at: in_seconds(-60),
        ..row("u", "expired")
    };
    for (session, row) in [("s", &row("u", "at")), ("t", &expired), ("v", &bare("at"))] {
        for provider in ["p", "q"] {
            broker.put(&key(session, provider), row).await;
        }
    }
    backend.spoil(&key("s", "q"));
    let before = backend.dump();
    let stranger = Binding {
        user_id: Some(user("stranger")),
        ..Binding::default()
    };
    for binding in [Binding::default(), stranger] {
        for name in ["s", "t", "v", "unknown"] {
            broker.get(&key(name, "p"), &binding).await.ok();
            broker.get(&key(name, "q"), &binding).await.ok();
            broker
                .get_all(&session(name), &binding, &Default::default())
                .await
                .ok();
        }
    }
    for name in ["u", "unknown"] {
        broker
            .latest_for_user(&user(name), &provider("p"), &Default::default())
            .await
            .ok();
        broker.listed(&user(name)).await;
    }
    assert!(backend.dump() == before, "I9: a read changed the data");
}
