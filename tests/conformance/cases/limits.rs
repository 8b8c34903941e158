//! Tests how large rows and sessions may get (guarantees, section 2.5).

use testkit::{broker::request, rows::*};
use token_broker::{
    error::Error,
    types::{ClientId, Row, RowKey},
};

use crate::backend::Backend;

const TOKEN: usize = 32 * 1024;
const ROW: usize = 60 * 1024;

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// A token may have 32 KiB, to the byte.
pub async fn a_token_has_a_limit<B: Backend>(backend: B) {
    let broker = backend.broker();
    let key = key("s", "p");
    let rows = |bytes| {
        [
            Row {
                access_token: secret(&text(bytes)),
                ..Row::default()
            },
            Row {
                refresh_token: secret(&text(bytes)),
                ..Row::default()
            },
            Row {
                id_token: secret(&text(bytes)),
                ..Row::default()
            },
        ]
    };
    for (full, over) in rows(TOKEN).into_iter().zip(rows(TOKEN + 1)) {
        let version = broker.put(&key, &full).await;
        match broker.store(request(&key, &over)).await {
            Err(Error::TooLarge { size, limit, .. }) => {
                assert_eq!((size, limit), (TOKEN + 1, TOKEN))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(broker.version(&key).await, Some(version));
    }
}

/// A row may have 60 KiB, all of its text together.
pub async fn a_row_has_a_limit<B: Backend>(backend: B) {
    let broker = backend.broker();
    let key = key("s", "p");
    let mut full = Row {
        access_token: secret(&text(TOKEN)),
        scopes: vec!["scope".to_owned(); 100],
        user_id: Some(user("u")),
        ..Row::default()
    };
    full.refresh_token = secret(&text(ROW - full.size()));
    broker.put(&key, &full).await;
    assert_eq!(sent(&broker.read(&key).await.unwrap().row), full);
    full.client_id = ClientId::new("c").ok();
    let over = broker.store(request(&key, &full)).await;
    assert!(matches!(over, Err(Error::TooLarge { .. })), "{over:?}");
}

/// A session may have 64 providers. A provider of the session may be stored again, and deleting one
/// makes room for another.
pub async fn a_session_has_a_limit<B: Backend>(backend: B) {
    let broker = backend.broker();
    let nth = |number: usize| key("s", &format!("p{number}"));
    for number in 0..64 {
        broker.put(&nth(number), &row("u", "at")).await;
    }
    let one_more = broker.store(request(&nth(64), &row("u", "at"))).await;
    assert!(
        matches!(one_more, Err(Error::TooManyProviders { limit: 64 })),
        "{one_more:?}"
    );
    assert_eq!(broker.read(&nth(64)).await, None);

    broker.put(&nth(63), &row("v", "again")).await;
    broker
        .put(
            &RowKey {
                session: session("t"),
                ..nth(64)
            },
            &row("u", "at"),
        )
        .await;
    broker.remove(&nth(0)).await;
    broker.put(&nth(64), &row("u", "at")).await;
    let full = broker.store(request(&nth(0), &row("u", "at"))).await;
    assert!(
        matches!(full, Err(Error::TooManyProviders { .. })),
        "{full:?}"
    );
    assert_eq!(broker.rows_of(&session("s")).await.len(), 64);
}

/// A row that exceeds the limit because of the token that it keeps is too large.
pub async fn a_row_that_keeps_a_token_has_a_limit_too<B: Backend>(backend: B) {
    let broker = backend.broker();
    let key = key("s", "p");
    let old = Row {
        refresh_token: secret(&text(TOKEN)),
        ..row("u", "at")
    };
    let version = broker.put(&key, &old).await;
    let new = Row {
        access_token: secret(&text(TOKEN)),
        refresh_token: None,
        ..row("u", "at")
    };
    let request = token_broker::tokens::StoreTokens {
        carry_forward: true,
        ..request(&key, &new)
    };
    let over = broker.store(request).await;
    assert!(matches!(over, Err(Error::TooLarge { .. })), "{over:?}");
    assert_eq!(broker.version(&key).await, Some(version));
}
