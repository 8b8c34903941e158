//! `ListUserSessions`: it lists every row once, in order, without a secret, and page by page.

use std::collections::BTreeSet;

use testkit::{broker::Broker, rows::*};
use token_broker::{
    error::Error,
    store::Store,
    tokens::UserSession,
    types::{Row, RowKey},
};

use crate::backend::Backend;

/// Stores a row for each of `sessions` at two providers, and returns their keys in order.
async fn log_in<B: Backend>(backend: &B, name: &str, sessions: usize) -> Vec<RowKey> {
    let broker = backend.broker();
    let mut keys = Vec::new();
    for number in 0..sessions {
        for provider in ["a", "b"] {
            let key = key(&format!("{name}-{number:03}"), provider);
            broker.put(&key, &row(name, "at")).await;
            keys.push(key);
        }
    }
    keys
}

/// A listing has everything of a row except the tokens.
pub async fn listing_tells_all_but_the_tokens<B: Backend>(backend: B) {
    let broker = backend.broker();
    let (key, endless) = (key("s", "p"), key("s", "q"));
    broker.put(&key, &row("u", "at")).await;
    broker
        .put(
            &endless,
            &Row {
                expires_at: None,
                client_id: None,
                ..row("u", "at")
            },
        )
        .await;
    let page = broker
        .list_user_sessions(&user("u"), 0, None)
        .await
        .unwrap();
    let stored = broker.read(&key).await.unwrap().row;
    let listed = |key: RowKey, row: Row| UserSession {
        key,
        client_id: row.client_id,
        expires_at: row.expires_at,
        updated_at: row.updated_at,
    };
    let second = broker.read(&endless).await.unwrap().row;
    assert_eq!(
        page.sessions,
        [listed(key, stored), listed(endless, second)]
    );
    assert_eq!(page.next, None);
}

/// Pages of any size add up to the whole listing, in the order of session and provider.
pub async fn pages_put_together_are_the_whole<B: Backend>(backend: B) {
    let expected = log_in(&backend, "u", 11).await;
    log_in(&backend, "v", 3).await;
    let broker = backend.broker();
    for size in [1, 2, 7, 21, 22, 23, 5_000] {
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let page = broker
                .list_user_sessions(&user("u"), size, next.as_deref())
                .await
                .unwrap();
            assert!(page.sessions.len() <= size);
            found.extend(page.sessions.into_iter().map(|session| session.key));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "pages of {size}");
    }
    assert!(broker.listed(&user("nobody")).await.is_empty());
}

/// A page has 100 rows by default, and at most 1,000.
pub async fn a_page_has_a_size<B: Backend>(backend: B) {
    log_in(&backend, "u", 502).await;
    let broker = backend.broker();
    for (asked, given) in [
        (0, 100),
        (99, 99),
        (1_000, 1_000),
        (1_001, 1_000),
        (usize::MAX, 1_000),
    ] {
        let page = broker
            .list_user_sessions(&user("u"), asked, None)
            .await
            .unwrap();
        assert_eq!(
            (page.sessions.len(), page.next.is_some()),
            (given, true),
            "{asked} asked for"
        );
    }
}

/// A row that stays is listed once, whatever is stored and deleted between the pages.
pub async fn a_listing_survives_changes_between_pages<B: Backend>(backend: B) {
    let mut staying: BTreeSet<_> = log_in(&backend, "u", 10).await.into_iter().collect();
    let broker = backend.broker();
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = broker
            .list_user_sessions(&user("u"), 3, next.as_deref())
            .await
            .unwrap();
        // The row that the page token names is deleted, and another one is stored right before it.
        if let Some(last) = page.sessions.last() {
            broker.remove(&last.key).await;
            staying.remove(&last.key);
            let before = key(last.key.session.as_str(), "Z");
            broker.put(&before, &row("u", "new")).await;
        }
        found.extend(page.sessions.into_iter().map(|session| session.key));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let unique: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(unique.len(), found.len(), "a row was listed twice");
    assert!(
        unique.is_superset(&staying),
        "a row that stayed was not listed"
    );
}

/// A page token only works for the listing that it came from. Forged tokens are refused.
pub async fn a_forged_page_token_is_refused<B: Backend>(backend: B) {
    log_in(&backend, "u", 3).await;
    log_in(&backend, "v", 3).await;
    let broker = backend.broker();
    let page = broker
        .list_user_sessions(&user("u"), 1, None)
        .await
        .unwrap();
    let token = page.next.unwrap();
    refused(&broker, "v", &token).await;
    for forged in ["", "x", "AAAA", "%", "\0", "日本"] {
        refused(&broker, "u", forged).await;
    }
    for at in 0..token.len() {
        refused(&broker, "u", &token[..at]).await;
        let mut flipped = token.clone().into_bytes();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        refused(&broker, "u", std::str::from_utf8(&flipped).unwrap()).await;
    }
    broker
        .list_user_sessions(&user("u"), 1, Some(&token))
        .await
        .unwrap();
}

async fn refused<S: Store>(broker: &Broker<S>, name: &str, token: &str) {
    match broker.list_user_sessions(&user(name), 1, Some(token)).await {
        Err(Error::Invalid(violations)) => {
            assert_eq!(violations.first()[0].field, "page_token");
        }
        other => panic!("{token:?} was good for {name}: {other:?}"),
    }
}
