//! What the log says about rows in doubt, and about errors that nobody knows.

use std::{sync::Arc, time::Duration};

use testkit::{
    token_endpoint::{Behaviour, TokenEndpoint},
    waiting::until,
};
use token_broker::{
    error::Error,
    refresh::{Completion, Outcome, provider::Replay},
    store::MemoryStore,
    tokens::Wanted,
    types::{AttemptId, ProviderName, ReauthReason, RowKey, Secret, TokenHash},
};

use crate::{
    brokers::{Process, expired, key, options_at},
    echo::log,
};

type Broker = Process<Arc<MemoryStore>>;

const TOKEN: &str = "rt-that-is-not-told";
const SESSION: &str = "session-that-is-not-told";

/// A broker with one provider, which has this name and answers so.
async fn scene(name: &str, answers: &[Behaviour], replay: Replay) -> (Broker, TokenEndpoint) {
    let endpoint = TokenEndpoint::start().await;
    endpoint.behave("/token", answers.to_vec());
    let mut options = options_at(&endpoint.url("/token"));
    options.name = ProviderName::new(name).unwrap();
    options.replay = replay;
    (
        Process::start(Arc::new(MemoryStore::new()), options),
        endpoint,
    )
}

fn row(session: &str, provider: &str) -> RowKey {
    let mut key = key(session);
    key.provider = ProviderName::new(provider).unwrap();
    key
}

/// Returns the lines of the log about a provider.
fn lines(provider: &str, text: &str) -> Vec<String> {
    let log = log().text();
    let named = format!("provider={provider}");
    let lines = log
        .lines()
        .filter(|line| line.contains(&named) && line.contains(text));
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    for line in &lines {
        assert!(
            !line.contains("not-told") && !line.contains("hunter2"),
            "{line}"
        );
    }
    lines
}

fn in_doubt<T: std::fmt::Debug>(got: Result<T, Error>) {
    assert!(
        matches!(got, Err(Error::ReauthRequired(ReauthReason::InDoubt))),
        "{got:?}"
    );
}

#[tokio::test]
async fn a_row_in_doubt_is_told_once_with_the_cause() {
    log();
    let lost = Behaviour::answer(500, &[], "");
    let refused = Behaviour::json(400, r#"{"error":"invalid_grant"}"#);
    for (name, answers, replay, cause) in [
        (
            "told-never",
            vec![lost.clone()],
            Replay::Never,
            "no answer told",
        ),
        (
            "told-refused",
            vec![lost, refused],
            Replay::AsRotationAllows,
            "the provider refused a refresh token that an earlier request may have redeemed",
        ),
    ] {
        let (broker, _endpoint) = scene(name, &answers, replay).await;
        let key = row(SESSION, name);
        broker.put(&key, expired(TOKEN)).await.unwrap();
        for _ in 0..3 {
            in_doubt(broker.get(&key, Wanted::default()).await);
        }
        let told = lines(name, "is in doubt");
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(
            told[0].contains("WARN") && told[0].contains(cause),
            "{told:#?}"
        );
    }
}

#[tokio::test]
async fn a_doubt_that_an_auth_server_finds_is_told() {
    log();
    let name = "told-lease";
    let (broker, _endpoint) = scene(name, &[Behaviour::raw("")], Replay::Never).await;
    let key = row(SESSION, name);
    let version = broker.put(&key, expired(TOKEN)).await.unwrap();
    let token = TokenHash::of(&Secret::new(TOKEN.to_owned()).unwrap());
    let begun = broker.run(move |tokens| async move {
        let first = AttemptId::from_number(1);
        tokens
            .begin_refresh(&key, version, first, &Default::default())
            .await
            .unwrap();
        let unknown = Completion {
            attempt: first,
            token,
            version,
            outcome: Outcome::Unknown,
        };
        tokens
            .complete_refresh(&key, unknown, &Default::default())
            .await
            .unwrap();
        tokens
            .begin_refresh(
                &key,
                version,
                AttemptId::from_number(2),
                &Default::default(),
            )
            .await
    });
    begun.await.unwrap();
    let told = lines(name, "is in doubt");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("no answer told"), "{told:#?}");
}

#[tokio::test]
async fn an_error_that_nobody_knows_is_told_once() {
    log();
    let name = "told-unknown";
    let odd = Behaviour::json(400, r#"{"error":"hunter2"}"#);
    let good = Behaviour::json(200, r#"{"access_token":"a","expires_in":3600}"#);
    let answers = [odd.clone(), good.clone(), odd.clone(), good, odd];
    let (broker, endpoint) = scene(name, &answers, Replay::AsRotationAllows).await;
    for number in 0..5 {
        let key = row(&format!("{SESSION}-{number}"), name);
        broker.put(&key, expired(TOKEN)).await.unwrap();
        let patience = Duration::from_millis(50);
        broker
            .get_within(&key, Wanted::default(), patience)
            .await
            .ok();
        // The request goes on without its caller.
        let has_come = async || endpoint.received_at("/token").len() > number;
        until("the request comes", has_come).await;
    }
    let is_told = async || !lines(name, "refused-codes").is_empty();
    until("it is told", is_told).await;
    let told = lines(name, "refused-codes");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].contains("WARN") && told[0].contains("an error whose code isn't shown"),
        "{told:#?}"
    );
    assert_eq!(lines(name, "breaker").len(), 0);
}
