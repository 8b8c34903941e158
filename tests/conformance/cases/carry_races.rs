//! Tests what happens between the read and the write of a call that carries a refresh token
//! forward.

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use testkit::{
    broker::{Broker, request, rules},
    rows::*,
};
use token_broker::{
    error::Error,
    store::{self, Observed, Observer, Operation, Store},
    tokens::{Precondition, Rules, StoreTokens},
    types::{Row, RowKey},
};
use tokio::time::timeout;

use crate::{backend::Backend, meddled::meddled};

fn silent() -> Row {
    Row {
        refresh_token: None,
        ..row("u", "silent")
    }
}

/// Stores a row without a refresh token and carries one forward, through a broker whose call is
/// interrupted.
async fn interrupted<B: Backend>(
    backend: &B,
    key: &RowKey,
    precondition: Option<Precondition>,
    after: Operation,
    meddling: impl Future<Output = ()> + Send + 'static,
) -> Result<String, Error> {
    let store = meddled(backend.store(), after, meddling);
    let broker = Broker::new(store, rules(backend.tenant()));
    let request = StoreTokens {
        precondition,
        carry_forward: true,
        ..request(key, &silent())
    };
    let version = broker.store(request).await?;
    let stored = broker.read(key).await.unwrap();
    assert_eq!(stored.version, version);
    Ok(refresh_token(&stored.row).to_owned())
}

/// The row is stored again between the read and the write. Its new token is the one to keep.
pub async fn carry_sees_a_login_that_came_between<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "1")).await;
    let (other, at) = (broker.clone(), key.clone());
    let meddling = async move { _ = other.put(&at, &row("u", "2")).await };
    let kept = interrupted(&backend, &key, None, Operation::Get, meddling).await;
    assert_eq!(kept.unwrap(), "refresh-2");
}

/// The row is deleted between the read and the write. Its token is gone too, and the next source
/// counts.
pub async fn carry_sees_a_delete_that_came_between<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "1")).await;
    let (other, at) = (broker.clone(), key.clone());
    let meddling = async move { _ = other.remove(&at).await };
    let kept = interrupted(&backend, &key, None, Operation::Get, meddling).await;
    assert_eq!(kept.unwrap(), "");
}

/// The source is a row of another session, and changes between the read and the write. A token that
/// has been refreshed is worthless.
pub async fn carry_sees_a_source_that_changed_between<B: Backend>(backend: B) {
    let (broker, source) = (backend.broker(), key("other", "p"));
    broker.put(&source, &row("u", "1")).await;
    let (other, at) = (broker.clone(), source.clone());
    let meddling = async move { _ = other.put(&at, &row("u", "2")).await };
    let kept = interrupted(&backend, &key("s", "p"), None, Operation::GetMany, meddling).await;
    assert_eq!(kept.unwrap(), "refresh-2");

    let meddling = async move { _ = broker.remove(&source).await };
    let kept = interrupted(&backend, &key("t", "p"), None, Operation::GetMany, meddling).await;
    // The first write above made a row with this token.
    assert_eq!(kept.unwrap(), "refresh-2");
}

/// The call has `must_not_exist`, and the row exists at the read and is gone at the write. The call
/// is refused, or stores the row with the token that it should keep, but never without one.
pub async fn carry_under_a_precondition_never_drops_a_token<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "1")).await;
    broker
        .put(
            &RowKey {
                session: session("other"),
                ..key.clone()
            },
            &row("u", "other"),
        )
        .await;
    let (other, at) = (broker.clone(), key.clone());
    let meddling = async move { _ = other.remove(&at).await };
    let must_not_exist = Some(Precondition::MustNotExist);
    match interrupted(&backend, &key, must_not_exist, Operation::Get, meddling).await {
        Ok(kept) => assert_eq!(kept, "refresh-other"),
        Err(error) => assert!(matches!(error, Error::RowExists), "{error:?}"),
    }
}

/// Another caller stores the row again after each read.
struct Rewriter<S> {
    other: Broker<S>,
    key: RowKey,
    times: AtomicUsize,
}

impl<S: Store> Observer for Rewriter<S> {
    async fn done(&self, operation: Operation, _: Option<&store::Error>, _: Duration) {
        if operation == Operation::Get {
            self.times.fetch_add(1, Ordering::Relaxed);
            self.other.put(&self.key, &row("u", "again")).await;
            tokio::task::yield_now().await;
        }
    }
}

/// The row changes between each read and write. The call ends by itself, and does so without a storm of attempts.
pub async fn carry_gives_up_on_a_row_that_keeps_changing<B: Backend>(backend: B) {
    let key = key("s", "p");
    let rewriter = Rewriter {
        other: backend.broker(),
        key: key.clone(),
        times: AtomicUsize::new(0),
    };
    let rules = Rules {
        persistence: Duration::from_secs(1),
        ..rules(backend.tenant())
    };
    let broker = Broker::new(Observed::new(backend.store(), rewriter), rules);
    // The connections are there, so that the second is for attempts.
    broker.put(&key, &row("u", "first")).await;
    broker.read(&key).await;
    broker
        .backend()
        .observer()
        .times
        .store(0, Ordering::Relaxed);
    let request = StoreTokens {
        carry_forward: true,
        ..request(&key, &silent())
    };
    let stored = timeout(Duration::from_secs(20), broker.store(request)).await;
    let stored = stored.expect("the call ends by itself");
    assert!(
        matches!(stored, Err(Error::StoreUnavailable(_))),
        "{stored:?}"
    );
    let times = broker.backend().observer().times.load(Ordering::Relaxed);
    // From the third on there are 20 ms at least between two attempts.
    assert!((2..=55).contains(&times), "{times} attempts in a second");
}

/// A login stores one token after the other, and other callers store rows without a refresh token
/// meanwhile. At the end the row has the last token of the login.
pub async fn carry_racing_logins_keeps_the_last_token<B: Backend>(backend: B) {
    const LOGINS: usize = 40;
    let key = key("s", "p");
    let broker = backend.broker();
    broker.put(&key, &row("u", "0")).await;
    let carriers: Vec<_> = (0..2)
        .map(|_| {
            let (broker, key) = (backend.broker(), key.clone());
            tokio::spawn(async move {
                for _ in 0..40 {
                    broker.put_carrying(&key, &silent()).await;
                }
            })
        })
        .collect();
    for login in 1..=LOGINS {
        broker.put(&key, &row("u", &login.to_string())).await;
    }
    for carrier in carriers {
        carrier.await.unwrap();
    }
    let stored = broker.read(&key).await.unwrap();
    assert_eq!(refresh_token(&stored.row), format!("refresh-{LOGINS}"));
}
