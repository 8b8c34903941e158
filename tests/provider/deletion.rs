//! The tokens of deleted rows are revoked where the provider is configured so (`revoke-on-delete`), and nobody waits for
//! it.

use std::{sync::Arc, time::Duration};

use testkit::{
    broker::{Broker, rules},
    captured_log::CapturedLog,
    rows::*,
    token_endpoint::{Behaviour, End, TokenEndpoint},
    waiting::{found, until},
};
use token_broker::{
    refresh::{Providers, RevocationFigures, Revocations, WAITING, provider::ProviderOptions},
    store::MemoryStore,
    tokens::{Binding, Precondition, Tokens, Wanted},
    types::{Origin, Row, Tenant},
};

use crate::setup::{TOKEN, options_at, server, tokens};

const REVOKE: &str = "/revoke";
const PAUSE: Duration = Duration::from_millis(10);

fn revoking(server: &TokenEndpoint) -> ProviderOptions {
    let mut options = options_at(server);
    options.endpoints.revocation = Some(server.url(REVOKE).parse().unwrap());
    options.revoke_on_delete = true;
    options
}

/// A broker with the provider `test`.
fn broker(options: ProviderOptions) -> Broker<MemoryStore> {
    let tenant: Tenant = "test:test".parse().unwrap();
    let mut rules = rules(tenant);
    rules.providers =
        Providers::new(vec![options]).with_revocations(Revocations::new([PAUSE, PAUSE]));
    Broker::new(MemoryStore::new(), rules)
}

async fn provider_that(behaviour: Behaviour) -> TokenEndpoint {
    let server = server(tokens()).await;
    server.behave(REVOKE, [behaviour]);
    server
}

fn figures(broker: &Tokens<MemoryStore>) -> RevocationFigures {
    broker.providers().revocations().figures()
}

/// The tokens that came, in the order of their names, and the hints.
fn revoked(server: &TokenEndpoint) -> Vec<(String, String)> {
    let read = |name: &str, request: &testkit::token_endpoint::Received| {
        request.parameter(name).unwrap().to_owned()
    };
    let requests = server.received_at(REVOKE);
    let mut all: Vec<_> = requests
        .iter()
        .map(|request| (read("token", request), read("token_type_hint", request)))
        .collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn each_way_to_delete_revokes_the_rows_token() {
    let server = provider_that(Behaviour::answer(200, &[], "")).await;
    let broker = broker(revoking(&server));
    let only_access = Row {
        refresh_token: None,
        ..row("u", "5")
    };
    for (session, row) in [
        ("one", row("u", "1")),
        ("on-version", row("u", "2")),
        ("all", row("u", "3")),
        ("users", row("u", "4")),
        ("users-too", only_access),
    ] {
        broker.put(&key(session, "test"), &row).await;
        broker.put(&key(session, "not-configured"), &row).await;
    }
    assert!(broker.remove(&key("one", "test")).await);
    assert!(!broker.remove(&key("one", "test")).await);
    let key_on_version = key("on-version", "test");
    let version = broker.version(&key_on_version).await;
    let other = Some(token_broker::types::Version::random());
    broker.delete(&key_on_version, other).await.unwrap_err();
    assert!(broker.delete(&key_on_version, version).await.unwrap());
    assert_eq!(broker.delete_all(&session("all")).await.unwrap(), 2);
    let gone = broker.delete_user(&user("u")).await.unwrap();
    assert_eq!(gone.rows, 6);
    until("all are revoked", async || figures(&broker).revoked == 5).await;
    let refresh = |number| (format!("refresh-{number}"), "refresh_token".to_owned());
    let access = ("5".to_owned(), "access_token".to_owned());
    let expected = [access, refresh(1), refresh(2), refresh(3), refresh(4)];
    assert_eq!(revoked(&server), expected);
    // A row that is replaced isn't deleted.
    let target = key("s", "test");
    let version = broker.put(&target, &row("u", "6")).await;
    let replaced = Precondition::Version(version);
    broker
        .put_if(&target, &row("u", "7"), replaced)
        .await
        .unwrap();
    assert_eq!(server.received_at(REVOKE).len(), 5);
}

/// A row is deleted while its refresh token is at the provider: what that brings is revoked, too.
#[tokio::test]
async fn what_a_refresh_brings_for_a_deleted_row_is_revoked() {
    let server = server(tokens().after(Duration::from_millis(200))).await;
    server.behave(REVOKE, [Behaviour::answer(200, &[], "")]);
    let broker = broker(revoking(&server));
    let expired = Row {
        expires_at: in_seconds(-60),
        ..row("u", "1")
    };
    let key = key("s", "test");
    broker.put(&key, &expired).await;
    let (asked, asking) = (key.clone(), broker.clone());
    let call = tokio::spawn(async move {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let wanted = Wanted::default();
        asking
            .access_token(&asked, &wanted, &Binding::default(), deadline)
            .await
    });
    until("the token is sent", async || {
        !server.received_at(TOKEN).is_empty()
    })
    .await;
    assert!(broker.remove(&key).await);
    call.await.unwrap().unwrap_err();
    until("both are revoked", async || figures(&broker).revoked == 2).await;
    let refresh_token = |token: &str| (token.to_owned(), "refresh_token".to_owned());
    assert_eq!(
        revoked(&server),
        [refresh_token("r"), refresh_token("refresh-1")]
    );
}

#[tokio::test]
async fn a_provider_that_is_down_fails_no_delete_and_is_said_once() {
    let (log, _logging) = CapturedLog::of_this_thread();
    let server = provider_that(Behaviour::answer(503, &[], "")).await;
    let broker = broker(revoking(&server));
    broker.put(&key("s", "test"), &row("u", "1")).await;
    assert!(broker.remove(&key("s", "test")).await);
    until("it is given up", async || figures(&broker).failed == 1).await;
    assert_eq!(server.received_at(REVOKE).len(), 3, "attempts");
    until("it is said", async || log.text().lines().count() > 0).await;
    let log = log.text();
    let line = "a token of a deleted row was not revoked: the answer has status 503";
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(line) && log.contains("test"), "{log}");
    assert!(!log.contains("refresh-1"), "{log}");
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_a_passing_failure_is() {
    let server = server(tokens()).await;
    let ok = Behaviour::answer(200, &[], "");
    server.behave(REVOKE, [Behaviour::answer(500, &[], ""), ok]);
    let broker = broker(revoking(&server));
    broker.put(&key("s", "test"), &row("u", "1")).await;
    broker.remove(&key("s", "test")).await;
    until("it is revoked", async || figures(&broker).revoked == 1).await;
    assert_eq!(server.received_at(REVOKE).len(), 2);
    let refusal = r#"{"error":"unauthorized_client"}"#;
    server.behave(REVOKE, [Behaviour::json(400, refusal)]);
    broker.put(&key("s", "test"), &row("u", "2")).await;
    broker.remove(&key("s", "test")).await;
    until("it is refused", async || figures(&broker).failed == 1).await;
    assert_eq!(server.received_at(REVOKE).len(), 3);
}

#[tokio::test]
async fn nothing_is_sent_without_the_option_or_to_where_the_token_is_not_from() {
    let server = provider_that(Behaviour::answer(200, &[], "")).await;
    let mut without = revoking(&server);
    without.revoke_on_delete = false;
    let mut another_client = revoking(&server);
    another_client.client_id = "another".to_owned();
    let store = Arc::new(MemoryStore::new());
    let with = |options: ProviderOptions| {
        let mut rules = rules("test:test".parse().unwrap());
        rules.providers = Providers::new(vec![options]);
        Broker::new(Arc::clone(&store), rules)
    };
    let (without, another_client) = (with(without), with(another_client));
    for broker in [&without, &another_client] {
        for delete in 0..3 {
            without.put(&key("s", "test"), &row("u", "1")).await;
            let origin = without.read(&key("s", "test")).await.unwrap().row.origin;
            assert_eq!(
                origin.map(|Origin { client_id, .. }| client_id).unwrap(),
                "client"
            );
            match delete {
                0 => assert!(broker.remove(&key("s", "test")).await),
                1 => assert_eq!(broker.delete_all(&session("s")).await.unwrap(), 1),
                _ => assert_eq!(broker.delete_user(&user("u")).await.unwrap().rows, 1),
            }
        }
        broker.providers().revocations().end(PAUSE).await;
        let figures = broker.providers().revocations().figures();
        assert_eq!(figures, RevocationFigures::default());
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn those_that_wait_are_bounded_and_dropped_at_the_end() {
    let server = provider_that(Behaviour::raw("").end(End::Hang)).await;
    let broker = broker(revoking(&server));
    for _ in 0..WAITING + 10 {
        broker.put(&key("s", "test"), &row("u", "1")).await;
        assert!(broker.remove(&key("s", "test")).await);
    }
    assert_eq!(figures(&broker).dropped, 10);
    let under_way = found("all that may be are under way", || {
        let count = server.received_at(REVOKE).len();
        (count == 8).then_some(count)
    })
    .await;
    let ended = tokio::time::timeout(
        Duration::from_secs(10),
        broker
            .providers()
            .revocations()
            .end(Duration::from_millis(200)),
    );
    ended.await.unwrap();
    let dropped = WAITING + 10 - under_way;
    // `end` waits for no more than its time.
    until("those that wait are dropped", async || {
        figures(&broker).dropped as usize >= dropped
    })
    .await;
    assert_eq!(figures(&broker).dropped as usize, dropped);
    assert_eq!(server.received_at(REVOKE).len(), under_way);
    broker.put(&key("s", "test"), &row("u", "1")).await;
    assert!(broker.remove(&key("s", "test")).await);
    assert_eq!(figures(&broker).dropped as usize, dropped + 1);
}
