//! What a provider says about one refresh token holds only its row, and says nothing about the provider (R6).

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use testkit::{
    rotating_provider::{RotatingProvider, Rules},
    token_endpoint::Behaviour,
};
use token_broker::{
    error::Error,
    store::MemoryStore,
    tokens::Wanted,
    types::{ProviderName, ReauthReason, RowKey},
};
use tokio::time::{Instant, sleep};

use crate::{
    brokers::{PATIENCE, Process, access_token, expired, key, options},
    echo::log,
};

type Broker = Process<Arc<MemoryStore>>;

/// How long the provider has to answer where tokens are sent a second time.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long after an answer that told nothing a token is sent again: the request's timeout, and a second.
const RESENT_AFTER: Duration = Duration::from_secs(3);

/// Answers to a dead token, none of which is a known refusal.
fn answers() -> Vec<(&'static str, Behaviour)> {
    let error = |status, code| Behaviour::json(status, &format!(r#"{{"error":"{code}"}}"#));
    vec![
        ("unknown", error(401, "their_own_code")),
        ("unauthorized", error(403, "unauthorized_client")),
        ("request", error(400, "invalid_request")),
        ("scope", error(400, "invalid_scope")),
        ("success", error(200, "their_own_code")),
        ("forbidden", Behaviour::answer(403, &[], "<html>blocked")),
        ("bad", Behaviour::answer(400, &[], "")),
    ]
}

fn named(name: &str, session: &str) -> RowKey {
    let mut key = key(session);
    key.provider = ProviderName::new(name).unwrap();
    key
}

fn lines(provider: &str, text: &str) -> usize {
    let named = format!("provider={provider}");
    let log = log().text();
    let told = |line: &&str| line.contains(&named) && line.contains(text);
    log.lines().filter(told).count()
}

/// Ten rows whose tokens are dead are asked for again and again, and others beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_tokens_hold_no_other_row() {
    log();
    let each = answers().into_iter().map(|(name, answer)| async move {
        let name = format!("dead-{name}");
        let provider = RotatingProvider::start(Rules::default()).await;
        provider.answer_others(answer);
        let mut options = options(&provider);
        options.name = ProviderName::new(&*name).unwrap();
        options.timeout = TIMEOUT;
        let broker = Broker::start(Arc::new(MemoryStore::new()), options);
        // Those in doubt are sent a second time meanwhile.
        let ends = Instant::now() + RESENT_AFTER + Duration::from_millis(500);
        let dead = join_all((0..10).map(|row| {
            let (broker, key) = (&broker, named(&name, &format!("dead-{row}")));
            async move {
                broker.plant(&key, &expired(&format!("dead-{row}"))).await;
                while Instant::now() < ends {
                    let patience = Duration::from_millis(100);
                    let got = broker.get_within(&key, Wanted::default(), patience).await;
                    got.unwrap_err();
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }));
        let healthy = async {
            sleep(Duration::from_millis(100)).await;
            let (mut row, mut took) = (0, Vec::new());
            while Instant::now() < ends || took.len() < 3 {
                let key = named(&name, &format!("healthy-{row}"));
                broker.plant(&key, &expired(&provider.log_in())).await;
                let began = Instant::now();
                let got = broker.get(&key, Wanted::default()).await;
                let got = got.unwrap_or_else(|error| panic!("{name}: row {row}: {error:?}"));
                assert!(provider.accepts(access_token(&got)), "{name}");
                took.push(began.elapsed());
                row += 1;
                // Longer than it takes until dead rows are asked for again, so that nothing is told between.
                sleep(Duration::from_millis(150)).await;
            }
            took.sort();
            (row, took[took.len() / 2])
        };
        let (_, (rows, usual)) = tokio::join!(dead, healthy);
        assert!(usual < Duration::from_millis(700), "{name}: {usual:?}");
        let requests = provider.tally().requests - rows;
        // The pauses of a row are 100 to 200 ms, then twice that, and so on.
        assert!(requests <= 10 * 6, "{name}: {requests} requests");
        assert_eq!(lines(&name, "breaker opens"), 0, "{name}");
    });
    join_all(each).await;
}

/// A firewall that refuses everything: what it did isn't known, and a second sending would be the last.
#[tokio::test]
async fn many_doubts_at_once_use_up_no_second_sending() {
    const ROWS: usize = 30;
    let provider = RotatingProvider::start(Rules::default()).await;
    let blocked = Behaviour::answer(403, &[], "<html>blocked");
    provider.fail(move |_| testkit::rotating_provider::Fault {
        instead: Some(blocked.clone()),
        ..Default::default()
    });
    let mut options = options(&provider);
    options.timeout = TIMEOUT;
    let broker = Broker::start(Arc::new(MemoryStore::new()), options);
    let tokens: Vec<_> = (0..ROWS).map(|_| provider.log_in()).collect();
    let keys: Vec<_> = (0..ROWS).map(|row| key(&format!("s{row}"))).collect();
    for (key, token) in keys.iter().zip(&tokens) {
        broker.plant(key, &expired(token)).await;
    }
    let ask = async |patience| {
        let calls = keys
            .iter()
            .map(|key| broker.get_within(key, Wanted::default(), patience));
        join_all(calls).await
    };
    ask(RESENT_AFTER + Duration::from_millis(2_500)).await;
    provider.fail(|_| Default::default());
    let mut in_doubt = 0;
    for got in ask(Duration::from_secs(30)).await {
        match got {
            Ok(got) => assert!(provider.accepts(access_token(&got))),
            Err(Error::ReauthRequired(ReauthReason::InDoubt)) => in_doubt += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    // Those that found out that it was still so.
    assert!(in_doubt <= 6, "{in_doubt} of {ROWS} in doubt");
    assert_eq!(provider.tally().replays, 0);
}

/// A client that is dead is one for all rows.
#[tokio::test]
async fn the_breaker_opens_and_closes_with_a_line_each() {
    log();
    let name = "breaker-told";
    let provider = RotatingProvider::start(Rules::default()).await;
    let dead = Behaviour::json(401, r#"{"error":"deleted_client"}"#);
    provider.fail(move |_| testkit::rotating_provider::Fault {
        instead: Some(dead.clone()),
        ..Default::default()
    });
    let mut options = options(&provider);
    options.name = ProviderName::new(name).unwrap();
    let broker = Broker::start(Arc::new(MemoryStore::new()), options);
    let rows: Vec<_> = (0..20).map(|row| named(name, &format!("s{row}"))).collect();
    let mut told = 0;
    for (number, row) in rows.iter().enumerate() {
        broker.plant(row, &expired(&provider.log_in())).await;
        // Three open it. From then on it is told at once, but to whoever probes the provider.
        let patience = match number {
            0..3 => PATIENCE,
            _ => Duration::from_millis(500),
        };
        let got = broker.get_within(row, Wanted::default(), patience).await;
        let is_told = matches!(got, Err(Error::ProviderMisconfigured(_)));
        assert!(is_told || number >= 3, "{got:?}");
        told += usize::from(is_told);
    }
    assert!(told > rows.len() / 2, "{told} of {}", rows.len());
    assert!(provider.tally().requests <= 7, "{:?}", provider.tally());
    assert_eq!(lines(name, "breaker opens"), 1);
    assert_eq!(lines(name, "--with-made-up-token"), 1);
    provider.fail(|_| Default::default());
    let patience = Duration::from_secs(40);
    for row in &rows {
        broker
            .get_within(row, Wanted::default(), patience)
            .await
            .unwrap();
    }
    assert_eq!(
        (lines(name, "breaker opens"), lines(name, "breaker closes")),
        (1, 1)
    );
}
