//! How long what a refresh brings lives: an access token, a refresh token, and the row in the store (3.1, R5).

use std::{sync::Arc, time::Duration};

use testkit::{
    rotating_provider::{Fault, RotatingProvider, Rules},
    rows,
    token_endpoint::{Behaviour, TokenEndpoint},
};
use token_broker::{
    refresh::provider::ProviderOptions,
    store::MemoryStore,
    tokens::Wanted,
    types::{Row, UnixTime},
};
use tokio::time::sleep;

use crate::brokers::{PATIENCE, Process, access_token, expired, key, options, options_at};

async fn start(
    answer: Behaviour,
    change: impl Fn(&mut ProviderOptions),
) -> (TokenEndpoint, Process<Arc<MemoryStore>>) {
    let endpoint = TokenEndpoint::start().await;
    endpoint.behave("/token", [answer]);
    let mut options = options_at(&endpoint.url("/token"));
    options.timeout = PATIENCE;
    change(&mut options);
    let broker = Process::start(Arc::new(MemoryStore::new()), options);
    (endpoint, broker)
}

async fn refreshed(answer: Behaviour, row: Row, change: impl Fn(&mut ProviderOptions)) -> Row {
    let (_endpoint, broker) = start(answer, change).await;
    broker.plant(&key("s"), &row).await;
    broker.get(&key("s"), Wanted::default()).await.unwrap().row
}

fn seconds(at: Option<UnixTime>) -> i64 {
    at.unwrap().seconds()
}

/// A life counts from before the request: the provider counts from when it made the token, which is later.
#[tokio::test]
async fn lives_count_from_before_the_sending() {
    let body = r#"{"access_token":"new","refresh_token":"r","expires_in":60,"refresh_token_expires_in":600}"#;
    let answer = Behaviour::json(200, body).after(Duration::from_millis(2_500));
    let before = UnixTime::now().seconds();
    let row = refreshed(answer, expired("rt-1"), |_| {}).await;
    let after = UnixTime::now().seconds();
    assert!(after >= before + 2);
    for (at, life) in [
        (row.expires_at, 60),
        (row.refresh_expires_at, 600),
        (row.updated_at, 0),
    ] {
        let from = seconds(at) - life;
        assert!(
            from >= before && from < after - 1,
            "{before} {from} {after}"
        );
    }
}

/// What an answer without `expires_in` means: the life that the row had, else what is assumed, else no end.
#[tokio::test]
async fn an_answer_without_a_life() {
    let answer = || Behaviour::json(200, r#"{"access_token":"new","refresh_token":"r"}"#);
    let assumed = |options: &mut ProviderOptions| {
        options.assume_expires_in = Some(Duration::from_secs(120));
    };
    let mut known = expired("rt-1");
    let obtained = seconds(known.expires_at) - 600;
    known.updated_at = UnixTime::from_seconds(obtained);
    let unknown = Row {
        updated_at: None,
        ..known.clone()
    };
    let life = |row: &Row| {
        row.expires_at
            .map(|at| at.seconds() - seconds(row.updated_at))
    };
    assert_eq!(life(&refreshed(answer(), known, assumed).await), Some(600));
    assert_eq!(
        life(&refreshed(answer(), unknown.clone(), assumed).await),
        Some(120)
    );
    assert_eq!(life(&refreshed(answer(), unknown, |_| {}).await), None);
}

/// The end of a refresh token stays with the token, and a session that has ended stops no refresh.
#[tokio::test]
async fn the_end_of_a_refresh_token() {
    let row = Row {
        refresh_expires_at: rows::in_seconds(500),
        session_expires_at: rows::in_seconds(-100),
        ..expired("rt-1")
    };
    let kept = Behaviour::json(200, r#"{"access_token":"new","expires_in":60}"#);
    let kept = refreshed(kept, row.clone(), |_| {}).await;
    assert_eq!(kept.refresh_expires_at, row.refresh_expires_at);
    assert_eq!(kept.session_expires_at, row.session_expires_at);
    let new = Behaviour::json(
        200,
        r#"{"access_token":"new","refresh_token":"r","expires_in":60}"#,
    );
    let new = refreshed(new, row, |_| {}).await;
    assert_eq!(new.refresh_expires_at, None);
}

/// A refreshed row is kept for as long as its new tokens live, and not for as long as the old ones would have.
#[tokio::test]
async fn a_refreshed_row_in_the_store() {
    let answer = |more: &str| {
        let body = format!(r#"{{"access_token":"new","refresh_token":"r","expires_in":1{more}}}"#);
        Behaviour::json(200, &body)
    };
    let lifetime = |lifetime: u64| {
        move |options: &mut ProviderOptions| {
            options.refresh_lifetime = Some(Duration::from_secs(lifetime));
        }
    };
    let month = r#","refresh_token_expires_in":2592000"#;
    // The new tokens end with the row 1 s later, a month later by the answer, and an hour later by the settings.
    let (short, by_answer, by_settings) = tokio::join!(
        start(answer(""), lifetime(1)),
        start(answer(month), lifetime(1)),
        start(answer(""), lifetime(3_600)),
    );
    let brokers = [&short.1, &by_answer.1, &by_settings.1];
    for broker in brokers {
        // Stored as by the auth server, with a long life.
        let mut row = expired("rt-1");
        row.refresh_expires_at = rows::in_seconds(9_000);
        broker.put(&key("s"), row).await.unwrap();
        broker.get(&key("s"), Wanted::default()).await.unwrap();
    }
    sleep(Duration::from_millis(3_200)).await;
    assert!(short.1.read(&key("s")).await.is_err());
    assert!(by_answer.1.read(&key("s")).await.is_ok());
    assert!(by_settings.1.read(&key("s")).await.is_ok());
}

/// A token that ends before it arrives doesn't cause one refresh after the other.
#[tokio::test]
async fn a_token_that_ends_before_it_arrives_is_handed_out_as_it_is() {
    let rules = Rules {
        expires_in: Some(1),
        ..Rules::default()
    };
    let provider = RotatingProvider::start(rules).await;
    provider.fail(|_| Fault {
        after: Duration::from_secs(2),
        ..Fault::default()
    });
    let mut options = options(&provider);
    options.timeout = Duration::from_secs(10);
    let broker = Process::start(Arc::new(MemoryStore::new()), options);
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let got = broker.get(&key, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&got)));
    assert_eq!(provider.tally().requests, 1);
}
