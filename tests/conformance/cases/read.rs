//! `Get` and `GetAll`: what they return, and to which caller.

use testkit::rows::*;
use token_broker::{error::Error, tokens::Binding, types::*};

use crate::backend::Backend;

/// `Get` of a missing row is `NOT_FOUND`.
pub async fn get_of_an_unknown_row_is_not_found<B: Backend>(backend: B) {
    let broker = backend.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    for unknown in [key("s", "q"), key("t", "p")] {
        let found = broker.get(&unknown, &Binding::default()).await;
        assert!(matches!(found, Err(Error::RowNotFound)), "{found:?}");
    }
}

/// `GetAll` returns the rows of the session and no others. For an unknown session it returns none.
pub async fn get_all_answers_the_session_and_nothing_else<B: Backend>(backend: B) {
    let broker = backend.broker();
    for (session, provider) in [("s", "p"), ("s", "q"), ("t", "p"), ("s2", "r")] {
        let token = format!("{session} {provider}");
        broker.put(&key(session, provider), &row("u", &token)).await;
    }
    let rows = broker.rows_of(&session("s")).await;
    let found: Vec<_> = rows
        .iter()
        .map(|(p, r)| (p.as_str(), access_token(&r.row)))
        .collect();
    assert_eq!(found, [("p", "s p"), ("q", "s q")]);
    assert!(broker.rows_of(&session("unknown")).await.is_empty());
}

/// `Get` and `GetAll` show the same row.
pub async fn get_and_get_all_agree<B: Backend>(backend: B) {
    let broker = backend.broker();
    for provider in ["p", "q", "r"] {
        broker.put(&key("s", provider), &row("u", provider)).await;
    }
    for (provider, row) in broker.rows_of(&session("s")).await {
        assert_eq!(broker.read(&key("s", provider.as_str())).await, Some(row));
    }
}

/// Every call that reads rows returns an expired row, because the caller needs its refresh token.
/// The same holds for a row without an access token, which counts as expired.
pub async fn expired_rows_are_returned<B: Backend>(backend: B) {
    let broker = backend.broker();
    let expired = Row {
        expires_at: in_seconds(-600),
        ..row("u", "old")
    };
    let tokenless = Row {
        access_token: None,
        ..row("u", "none")
    };
    for (provider, row) in [("p", &expired), ("q", &tokenless)] {
        let key = key("s", provider);
        broker.put(&key, row).await;
        let stored = broker
            .read(&key)
            .await
            .expect("an expired row is no missing row");
        assert!(stored.row.is_expired(UnixTime::now()));
        assert_eq!(refresh_token(&stored.row), refresh_token(row));
        let latest = broker
            .latest_for_user(&user("u"), &key.provider, &Default::default())
            .await
            .unwrap();
        assert_eq!(latest, stored);
        assert_eq!(broker.rows_of(&key.session).await[&key.provider], stored);
    }
    assert_eq!(broker.listed(&user("u")).await.len(), 2);
}

fn bindings() -> [Binding; 4] {
    let bound = Binding {
        user_id: Some(user("u")),
        client_id: ClientId::new("client").ok(),
        upstream_subject: Subject::new("subject-of-u").ok(),
    };
    let nothing = Binding::default();
    [
        Binding {
            user_id: bound.user_id.clone(),
            ..nothing.clone()
        },
        Binding {
            client_id: bound.client_id.clone(),
            ..nothing.clone()
        },
        Binding {
            upstream_subject: bound.upstream_subject.clone(),
            ..nothing
        },
        bound,
    ]
}

fn others() -> [Binding; 3] {
    let nothing = Binding::default();
    [
        Binding {
            user_id: Some(user("v")),
            ..nothing.clone()
        },
        Binding {
            client_id: ClientId::new("Client").ok(),
            ..nothing.clone()
        },
        Binding {
            upstream_subject: Subject::new("subject-of-u ").ok(),
            ..nothing
        },
    ]
}

/// A row is returned if the caller expects what it is bound to, and refused if the caller expects
/// something else. A row without bindings meets no expectation.
pub async fn a_binding_has_to_hold<B: Backend>(backend: B) {
    let broker = backend.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    broker.put(&key("unbound", "p"), &bare("at")).await;
    for binding in bindings() {
        broker.get(&key("s", "p"), &binding).await.unwrap();
        assert_eq!(
            broker
                .get_all(&session("s"), &binding, &Default::default())
                .await
                .unwrap()
                .rows
                .len(),
            1
        );
        let unbound = broker.get(&key("unbound", "p"), &binding).await;
        assert!(
            matches!(unbound, Err(Error::BindingMismatch)),
            "{unbound:?}"
        );
    }
    for binding in others() {
        let refused = broker.get(&key("s", "p"), &binding).await;
        assert!(
            matches!(refused, Err(Error::BindingMismatch)),
            "{refused:?}"
        );
        // Each expectation counts, even if others hold.
        let user_id = Some(user("u"));
        let mixed = Binding {
            user_id: binding.user_id.clone().or(user_id),
            ..binding
        };
        let refused = broker.get(&key("s", "p"), &mixed).await;
        assert!(
            matches!(refused, Err(Error::BindingMismatch)),
            "{refused:?}"
        );
    }
}

/// If one row of a session belongs to another user, `GetAll` returns no row to a caller who expects
/// a user.
pub async fn a_binding_has_to_hold_for_all_rows<B: Backend>(backend: B) {
    let broker = backend.broker();
    broker.put(&key("s", "p"), &row("u", "1")).await;
    broker.put(&key("s", "q"), &row("v", "2")).await;
    for binding in bindings()
        .into_iter()
        .filter(|binding| binding.client_id.is_none())
    {
        let refused = broker
            .get_all(&session("s"), &binding, &Default::default())
            .await;
        assert!(
            matches!(refused, Err(Error::BindingMismatch)),
            "{refused:?}"
        );
    }
}
