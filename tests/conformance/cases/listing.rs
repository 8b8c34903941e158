//! `ListUserSessions`: it lists every row, without a secret, and page by page.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
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
    let mut page = broker
        .list_user_sessions(&user("u"), 0, None, &Default::default())
        .await
        .unwrap();
    page.sessions.sort_by(|a, b| a.key.cmp(&b.key));
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

/// Pages of any size add up to the whole listing: each row once.
pub async fn pages_put_together_are_the_whole<B: Backend>(backend: B) {
    let expected = log_in(&backend, "u", 11).await;
    log_in(&backend, "v", 3).await;
    let broker = backend.broker();
    for size in [1, 2, 7, 21, 22, 23, 5_000] {
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let page = broker
                .list_user_sessions(&user("u"), size, next.as_deref(), &Default::default())
                .await
                .unwrap();
            assert!(page.sessions.len() <= size);
            found.extend(page.sessions.into_iter().map(|session| session.key));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        found.sort_unstable();
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
            .list_user_sessions(&user("u"), asked, None, &Default::default())
            .await
            .unwrap();
        assert_eq!(
            (page.sessions.len(), page.next.is_some()),
            (given, true),
            "{asked} asked for"
        );
    }
}

/// A row that stays is listed, whatever is stored and deleted between the pages.
pub async fn a_listing_survives_changes_between_pages<B: Backend>(backend: B) {
    let mut staying: BTreeSet<_> = log_in(&backend, "u", 60).await.into_iter().collect();
    let broker = backend.broker();
    let (mut found, mut next) = (BTreeSet::new(), None::<String>);
    for round in 0.. {
        let page = broker
            .list_user_sessions(&user("u"), 3, next.as_deref(), &Default::default())
            .await
            .unwrap();
        // A row of the page is deleted, and so is one that may not be listed yet. Others come.
        let listed = page.sessions.last().map(|last| last.key.clone());
        for gone in listed.iter().chain(&staying.first().cloned()) {
            broker.remove(gone).await;
            staying.remove(gone);
        }
        if round < 30 {
            for provider in ["c", "d", "e"] {
                let new = key(&format!("new-{round}"), provider);
                broker.put(&new, &row("u", "new")).await;
            }
        }
        found.extend(page.sessions.into_iter().map(|session| session.key));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let missing: Vec<_> = staying.difference(&found).collect();
    assert!(missing.is_empty(), "a row that stayed was not listed");
    assert!(!staying.is_empty(), "no row stayed");
}

/// A page token shows neither a session nor a provider, also not to who decodes it.
pub async fn a_page_token_names_no_session<B: Backend>(backend: B) {
    log_in(&backend, "somebody", 75).await;
    let broker = backend.broker();
    let mut next = None::<String>;
    loop {
        let page = broker
            .list_user_sessions(&user("somebody"), 7, next.as_deref(), &Default::default())
            .await
            .unwrap();
        next = page.next;
        let Some(token) = &next else { break };
        let bytes = BASE64.decode(token).unwrap();
        for text in [&bytes[..], token.as_bytes()] {
            assert!(!text.windows(9).any(|part| part == b"somebody-"));
        }
        assert!(
            bytes.len() < 64,
            "{} bytes hold more than a position",
            bytes.len()
        );
    }
}

/// A page token only works for the listing that it came from. Forged tokens are refused.
pub async fn a_forged_page_token_is_refused<B: Backend>(backend: B) {
    log_in(&backend, "u", 3).await;
    log_in(&backend, "v", 3).await;
    let broker = backend.broker();
    let page = broker
        .list_user_sessions(&user("u"), 1, None, &Default::default())
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
        .list_user_sessions(&user("u"), 1, Some(&token), &Default::default())
        .await
        .unwrap();
}

async fn refused<S: Store>(broker: &Broker<S>, name: &str, token: &str) {
    match broker
        .list_user_sessions(&user(name), 1, Some(token), &Default::default())
        .await
    {
        Err(Error::Invalid(violations)) => {
            assert_eq!(violations.first()[0].field, "page_token");
        }
        other => panic!("{token:?} was good for {name}: {other:?}"),
    }
}
