//! Tests how long rows live (guarantees, section 3.1), as far as readers can tell.

use std::time::Duration;

use testkit::{rows::*, waiting::until};
use token_broker::types::Row;

use crate::backend::Backend;

const SHORT: Duration = Duration::from_millis(60);

/// An expired row is gone for every reader, and doesn't prevent a new one.
pub async fn a_row_that_died_is_gone_for_every_reader<B: Backend>(backend: B) {
    let broker = backend.broker_with(|rules| rules.limits.providers = 2);
    let (dying, lasting) = (key("s", "p"), key("s", "q"));
    broker.put(&lasting, &row("u", "lasting")).await;
    broker.put_for(&dying, &row("u", "dying"), SHORT).await;
    until("the row dies", async || broker.read(&dying).await.is_none()).await;

    assert!(
        broker
            .rows_of(&dying.session)
            .await
            .keys()
            .eq([&lasting.provider])
    );
    assert_eq!(broker.listed(&user("u")).await, [lasting]);
    broker
        .latest_for_user(&user("u"), &dying.provider, &Default::default())
        .await
        .unwrap_err();
    assert!(!broker.remove(&dying).await);
    // It doesn't count towards the limit on providers either.
    broker.put(&key("s", "r"), &row("u", "new")).await;
}

/// However short its lifetime, a row lives for at least a second, so that the caller who stored it
/// can read it. Then it goes.
pub async fn a_row_lives_a_second_at_least<B: Backend>(backend: B) {
    let broker = backend.broker();
    let past = Row {
        expires_at: in_seconds(-7_200),
        refresh_expires_at: in_seconds(-3_600),
        ..row("u", "at")
    };
    let started = std::time::Instant::now();
    broker.put(&key("s", "p"), &past).await;
    until("the row dies", async || {
        broker.read(&key("s", "p")).await.is_none()
    })
    .await;
    assert!(started.elapsed() >= Duration::from_secs(1));
}

/// A row that is stored again has only its new lifetime. The old one no longer counts.
pub async fn a_new_row_has_a_new_life<B: Backend>(backend: B) {
    let broker = backend.broker();
    let (renewed, shortened, clock) = (key("s", "p"), key("t", "p"), key("clock", "p"));
    broker.put_for(&renewed, &row("u", "1"), SHORT).await;
    let version = broker.put(&renewed, &row("u", "2")).await;
    broker.put(&shortened, &row("u", "1")).await;
    broker.put_for(&shortened, &row("u", "2"), SHORT).await;
    broker.put_for(&clock, &row("u", "tick"), 2 * SHORT).await;
    until("the clock strikes", async || {
        broker.read(&clock).await.is_none()
    })
    .await;
    assert_eq!(broker.version(&renewed).await, Some(version));
    assert_eq!(broker.read(&shortened).await, None);
}

/// A row was stored after a long-lived one and expires before it. The index stays, and the
/// long-lived row is still found by session and by user. The same holds for a row without an
/// expiry.
pub async fn an_index_outlives_every_row_in_it<B: Backend>(backend: B) {
    let broker = backend.broker();
    let endless = Row {
        expires_at: None,
        ..row("u", "endless")
    };
    for (session, long) in [("s", row("u", "long")), ("t", endless)] {
        let (lasting, dying) = (key(session, "p"), key(session, "q"));
        broker.put(&lasting, &long).await;
        broker.put_for(&dying, &row("u", "short"), SHORT).await;
        until("the short row dies", async || {
            broker.read(&dying).await.is_none()
        })
        .await;
        let left = broker.rows_of(&lasting.session).await;
        assert!(
            left.keys().eq([&lasting.provider]),
            "the index ended before a row in it"
        );
        let listed = broker.listed(&user("u")).await;
        assert!(
            listed.contains(&lasting),
            "the index ended before a row in it"
        );
    }
}

/// The reverse: a row that lives longer extends the index.
pub async fn an_index_lives_longer_with_a_longer_row<B: Backend>(backend: B) {
    let broker = backend.broker();
    let (dying, lasting) = (key("s", "p"), key("s", "q"));
    broker.put_for(&dying, &row("u", "short"), SHORT).await;
    broker.put(&lasting, &row("u", "long")).await;
    until("the short row dies", async || {
        broker.read(&dying).await.is_none()
    })
    .await;
    assert!(
        broker
            .rows_of(&lasting.session)
            .await
            .keys()
            .eq([&lasting.provider])
    );
    assert_eq!(broker.listed(&user("u")).await, [lasting]);
}
