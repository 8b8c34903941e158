//! Tests what the broker measures: each metric moves when what it is about happens, no label has a value that a
//! caller made up, and no secret is in any of them.

use std::{collections::BTreeMap, time::Duration};

use http::uri::PathAndQuery;
use testkit::{
    provider,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    token_endpoint::{Behaviour, End, TokenEndpoint},
    waiting::until,
};
use token_broker::{
    meter::{HandshakeFailure, KeyChange, Reload},
    proto::v1,
    refresh::provider::ProviderOptions,
};
use tonic::{Code, Request, client::Grpc};
use tonic_prost::ProstCodec;

use crate::{
    access_tokens::{after, one},
    every_rpc::every_call,
    serving::{Client, SECRET, Serving, get, options, session, store},
};

/// The values of all metrics, by name and labels.
pub type Values = BTreeMap<String, f64>;

pub fn values(serving: &Serving) -> Values {
    let text = serving.metrics();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    parsed.collect()
}

/// Returns the sum of the values whose name is this, and whose labels contain each of these.
pub fn value(values: &Values, name: &str, labels: &[&str]) -> f64 {
    let found = values.iter().filter(|(key, _)| {
        let (of, has) = key.split_once('{').unwrap_or((key, ""));
        of == name && labels.iter().all(|label| has.contains(label))
    });
    found.map(|(_, value)| value).sum()
}

/// Waits until a metric is so.
async fn becomes(serving: &Serving, name: &str, labels: &[&str], is: impl Fn(f64) -> bool) {
    let what = format!("{name} {labels:?}");
    until(&what, || {
        let is = is(value(&values(serving), name, labels));
        async move { is }
    })
    .await;
}

/// Checks that `name` with these labels grows by `by` while `event` happens, and comes to it soon.
async fn grows<T>(
    serving: &Serving,
    (name, labels, by): (&str, &[&str], f64),
    event: impl Future<Output = T>,
) -> T {
    let before = value(&values(serving), name, labels);
    let came = event.await;
    becomes(serving, name, labels, |now| now >= before + by).await;
    let now = value(&values(serving), name, labels);
    assert_eq!(now, before + by, "{name} {labels:?}");
    came
}

pub const CALLS: &str = "token_broker_calls_total";

fn called<'l>(rpc: &'l str, code: &'l str, reason: &'l str) -> [&'l str; 3] {
    [rpc, code, reason]
}

#[tokio::test]
async fn a_call_is_counted_by_what_its_caller_is_told() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let ok = called(r#"rpc="Store""#, r#"code="OK""#, r#"reason="""#);
    grows(&serving, (CALLS, &ok, 1.0), client.store(store("s", "p")))
        .await
        .unwrap();
    let missing = called(
        r#"rpc="Get""#,
        r#"code="NOT_FOUND""#,
        r#"reason="ROW_NOT_FOUND""#,
    );
    grows(
        &serving,
        (CALLS, &missing, 1.0),
        client.get(get("none", "p")),
    )
    .await
    .unwrap_err();
    let took = ["rpc=\"Get\""];
    let counted = "token_broker_call_seconds_count";
    grows(&serving, (counted, &took, 1.0), client.get(get("s", "p")))
        .await
        .unwrap();
    let summed = value(&values(&serving), "token_broker_call_seconds_sum", &took);
    assert!(summed > 0.0);

    // What tonic refuses before a handler runs.
    let mut large = store("s", "p");
    large.tokens.as_mut().unwrap().access_token = "a".repeat(200_000);
    let too_large = called(
        r#"rpc="Store""#,
        "RESOURCE_EXHAUSTED",
        r#"reason="TOO_LARGE""#,
    );
    grows(&serving, (CALLS, &too_large, 1.0), client.store(large))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn calls_that_are_refused_at_the_door_or_given_up_are_counted() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let store_of = tenant.store_with(Duration::from_secs(9));
    let name = tenant.name().clone();
    let serving = Serving::start(name, store_of, options(), async {}).await;
    let mut client = serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    server.pause();
    let waiting = tokio::spawn({
        let mut client = client.clone();
        async move { client.get(get("s", "p")).await }
    });
    let (in_flight, running) = ("token_broker_calls_in_flight", "token_broker_store_running");
    let of = ["operation=\"get\""];
    becomes(&serving, running, &of, |now| now == 1.0).await;
    becomes(&serving, in_flight, &[], |now| now == 1.0).await;
    waiting.abort();
    let left = called("rpc=\"Get\"", "code=\"CANCELLED\"", "reason=\"\"");
    becomes(&serving, CALLS, &left, |now| now == 1.0).await;

    let mut request = Request::new(get("s", "p"));
    request.set_timeout(Duration::from_millis(150));
    let ended = value(&values(&serving), CALLS, &["rpc=\"Get\""]);
    client.get(request).await.unwrap_err();
    becomes(&serving, CALLS, &["rpc=\"Get\""], |now| now > ended).await;
    // The client may have ended the call first.
    let late = called(
        "rpc=\"Get\"",
        "code=\"DEADLINE_EXCEEDED\"",
        "reason=\"DEADLINE_EXCEEDED\"",
    );
    let now = values(&serving);
    assert_eq!(value(&now, CALLS, &late) + value(&now, CALLS, &left), 2.0);
    server.resume();
    becomes(&serving, in_flight, &[], |now| now == 0.0).await;
    becomes(&serving, running, &of, |now| now == 0.0).await;

    let closed = Serving::start(
        "a:b".parse().unwrap(),
        token_broker::store::MemoryStore::new(),
        options(),
        std::future::pending(),
    )
    .await;
    assert_eq!(value(&values(&closed), "token_broker_admitting", &[]), 0.0);
    let mut client = Client::new(closed.channel().await);
    let migrating = called(r#"rpc="Get""#, "UNAVAILABLE", r#"reason="MIGRATING""#);
    grows(&closed, (CALLS, &migrating, 1.0), client.get(get("s", "p")))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn the_store_and_the_way_to_it_are_measured() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let serving = Serving::redis(&tenant, options()).await;
    let mut client = serving.client().await;
    let (counted, put) = ("token_broker_store_seconds_count", ["operation=\"put\""]);
    grows(
        &serving,
        (counted, &put, 1.0),
        client.store(store("s", "p")),
    )
    .await
    .unwrap();
    let now = values(&serving);
    assert_eq!(
        value(&now, "token_broker_redis_primary_terms_total", &[]),
        1.0
    );
    let opened = value(&now, "token_broker_redis_connections_opened_total", &[]);
    assert!(opened > 0.0);
    assert_eq!(value(&now, "token_broker_store_failures_total", &[]), 0.0);

    server.kill();
    let failed = ["operation=\"get\"", "failure=\"unavailable\""];
    let failures = "token_broker_store_failures_total";
    grows(
        &serving,
        (failures, &failed, 1.0),
        client.get(get("s", "p")),
    )
    .await
    .unwrap_err();
    becomes(
        &serving,
        "token_broker_redis_connections_failed_total",
        &[],
        |now| now > 0.0,
    )
    .await;
    server.restart();
    // Another process answers at the address, and is another primary.
    becomes(
        &serving,
        "token_broker_redis_primary_terms_total",
        &[],
        |now| now > 1.0,
    )
    .await;
    becomes(
        &serving,
        "token_broker_redis_connections_opened_total",
        &[],
        |now| now > opened,
    )
    .await;
}

/// A provider `p` that answers with these, for each of which the broker waits so long.
async fn refreshing(
    timeout: Duration,
    behaviours: impl IntoIterator<Item = Behaviour>,
) -> (Serving, TokenEndpoint) {
    let endpoint = TokenEndpoint::start().await;
    endpoint.behave("/token", behaviours);
    let mut provider: ProviderOptions = provider::options("p");
    provider.endpoints.token = Some(endpoint.url("/token").parse().unwrap());
    provider.timeout = timeout;
    (Serving::refreshing([provider], options()).await, endpoint)
}

/// Stores a row whose access token has expired.
async fn expired(client: &mut Client, session: &str, provider: &str) {
    let mut request = store(session, provider);
    request.tokens.as_mut().unwrap().expires_at = after(-60);
    client.store(request).await.unwrap();
}

fn tokens() -> Behaviour {
    let text = format!(r#"{{"access_token":"at2-{SECRET}","expires_in":3600}}"#);
    Behaviour::json(200, &text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_counted_by_provider_and_outcome() {
    for (behaviour, outcome) in [
        (tokens(), "tokens"),
        (
            Behaviour::json(400, r#"{"error":"invalid_grant"}"#),
            "refused",
        ),
        (
            Behaviour::json(401, r#"{"error":"invalid_client"}"#),
            "misconfigured",
        ),
        (Behaviour::json(429, "{}"), "passing"),
        (Behaviour::raw("").end(End::Hang), "unknown"),
    ] {
        let timeout = match outcome {
            "unknown" => Duration::from_millis(300),
            _ => Duration::from_secs(10),
        };
        let (serving, _endpoint) = refreshing(timeout, [behaviour]).await;
        let mut client = serving.client().await;
        expired(&mut client, "s", "p").await;
        let mut access = serving.access_tokens().await;
        let mut request = Request::new(one("s", "p"));
        request.set_timeout(Duration::from_secs(3));
        _ = access.get_access_token(request).await;
        let outcome = format!("outcome=\"{outcome}\"");
        let labels = ["provider=\"p\"", &outcome];
        becomes(&serving, "token_broker_refreshes_total", &labels, |now| {
            now >= 1.0
        })
        .await;
        let now = values(&serving);
        assert!(
            value(
                &now,
                "token_broker_refreshes_sent_total",
                &["provider=\"p\""]
            ) >= 1.0
        );
        assert!(
            value(
                &now,
                "token_broker_refreshes_waited_for_total",
                &["provider=\"p\""]
            ) >= 1.0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_provider_and_what_stops_it_is_seen() {
    let hangs = || Behaviour::raw("").end(End::Hang);
    let timeout = Duration::from_secs(3);
    let (serving, _endpoint) = refreshing(timeout, (0..40).map(|_| hangs())).await;
    let mut client = serving.client().await;
    let mut calls = Vec::new();
    for at in 0..6 {
        let session = format!("s{at}");
        expired(&mut client, &session, "p").await;
        let mut access = serving.access_tokens().await;
        calls.push(tokio::spawn(async move {
            access.get_access_token(one(&session, "p")).await
        }));
    }
    let of = ["provider=\"p\""];
    becomes(
        &serving,
        "token_broker_provider_callers_waiting",
        &of,
        |now| now > 0.0,
    )
    .await;
    becomes(
        &serving,
        "token_broker_calls_waiting_for_providers",
        &[],
        |now| now > 0.0,
    )
    .await;
    becomes(&serving, "token_broker_provider_breaker_open", &of, |now| {
        now == 1.0
    })
    .await;
    becomes(
        &serving,
        "token_broker_refreshes_in_doubt_total",
        &of,
        |now| now >= 0.0,
    )
    .await;
    for call in calls {
        _ = call.await;
    }
    becomes(
        &serving,
        "token_broker_provider_callers_waiting",
        &of,
        |now| now == 0.0,
    )
    .await;
}

#[tokio::test]
async fn connections_are_counted() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    let now = values(&serving);
    assert_eq!(value(&now, "token_broker_connections_open", &[]), 1.0);
    assert_eq!(
        value(&now, "token_broker_connections_accepted_total", &[]),
        1.0
    );
    drop(client);
    becomes(&serving, "token_broker_connections_open", &[], |now| {
        now == 0.0
    })
    .await;
}

#[tokio::test]
async fn what_the_guards_count_is_seen() {
    let serving = Serving::memory().await;
    let trust = serving.trust();
    trust.sealing_keys.set(3);
    trust.handshakes_failed(HandshakeFailure::TooSlow).add(2);
    trust.handshakes_failed(HandshakeFailure::CutOff).up();
    trust.clients_expired.add(4);
    trust.clients_unverified.up();
    trust.certificate_expires.set(7);
    trust.reloads(Reload::Certificates).failed.up();
    trust.sealing_key_changes(KeyChange::Unknown).up();
    let now = values(&serving);
    for (name, labels, expected) in [
        ("token_broker_sealing_keys", &[][..], 3.0),
        ("token_broker_sealing_key_changes_total", &["unknown"], 1.0),
        (
            "token_broker_sealing_key_changes_total",
            &["\"known\""],
            0.0,
        ),
        ("token_broker_audit_events_total", &[], 0.0),
        ("token_broker_audit_failures_total", &[], 0.0),
        ("token_broker_handshakes_failed_total", &["too_slow"], 2.0),
        ("token_broker_handshakes_failed_total", &["cut_off"], 1.0),
        ("token_broker_handshakes_failed_total", &["protocol"], 0.0),
        (
            "token_broker_client_certificates_ended_total",
            &["expired"],
            4.0,
        ),
        (
            "token_broker_client_certificates_ended_total",
            &["unverified"],
            1.0,
        ),
        ("token_broker_certificate_expires_seconds", &[], 7.0),
        (
            "token_broker_reloads_total",
            &["certificates", "failed"],
            1.0,
        ),
        ("token_broker_reloads_total", &[], 1.0),
        ("token_broker_build_info", &[env!("CARGO_PKG_VERSION")], 1.0),
    ] {
        assert_eq!(value(&now, name, labels), expected, "{name}");
    }
    assert!(value(&now, "process_start_time_seconds", &[]) > 1.6e9);
    assert!(value(&now, "process_resident_memory_bytes", &[]) > 1e6);
    assert!(value(&now, "process_open_fds", &[]) > 2.0);
}

/// Calls a method that may not exist.
async fn call(serving: &Serving, path: &str) -> Code {
    let mut grpc = Grpc::new(serving.channel().await);
    grpc.ready().await.unwrap();
    let codec: ProstCodec<v1::GetRequest, v1::GetResponse> = ProstCodec::default();
    let path: PathAndQuery = path.parse().unwrap();
    let answer = grpc.unary(Request::new(get("s", "p")), path, codec).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn a_flood_of_names_that_callers_made_up_adds_no_series() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let round = async |client: &mut Client, serving: &Serving, at: usize| {
        let provider = format!("made-up-{at}");
        _ = client.store(store(&format!("s{at}"), &provider)).await;
        expired(client, &format!("s{at}"), &provider).await;
        let mut access = serving.access_tokens().await;
        _ = access
            .get_access_token(one(&format!("s{at}"), &provider))
            .await;
        let path = format!("/tokenbroker.v1.TokenBroker/MadeUp{at}");
        assert_eq!(call(serving, &path).await, Code::Unimplemented);
        let path = format!("/made.up.Service{at}/Get");
        assert_eq!(call(serving, &path).await, Code::Unimplemented);
    };
    round(&mut client, &serving, 0).await;
    let names = |serving: &Serving| values(serving).into_keys().collect::<Vec<_>>();
    let before = names(&serving);
    for at in 1..150 {
        round(&mut client, &serving, at).await;
    }
    assert_eq!(names(&serving), before);
    // What hasn't happened before is seen.
    client.get(get("none", "p")).await.unwrap_err();
    assert_ne!(names(&serving), before);
    let now = values(&serving);
    assert_eq!(
        value(&now, CALLS, &["rpc=\"other\"", "UNIMPLEMENTED"]),
        150.0
    );
    let others = ["provider=\"other\""];
    assert!(value(&now, "token_broker_refreshes_not_configured_total", &others) >= 150.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_id_is_in_any_metric() {
    let (serving, _endpoint) = refreshing(Duration::from_secs(10), [tokens()]).await;
    let mut client = serving.client().await;
    expired(&mut client, "s", "p").await;
    let mut access = serving.access_tokens().await;
    access.get_access_token(one("s", "p")).await.unwrap();
    // A provider whose name is a secret, too.
    client.store(store("s", SECRET)).await.unwrap();
    _ = client.get(get("s", SECRET)).await;
    let answers = every_call(serving.channel().await).await;
    assert!(answers.iter().any(|(_, answer)| answer.is_ok()));
    let text = serving.metrics();
    assert!(text.len() > 10_000);
    for secret in [SECRET, &session("s"), "subject", "client\"", "\"u\""] {
        assert!(!text.contains(secret), "{secret}");
    }
    // Such a search finds what is there.
    assert!(text.contains("provider=\"p\""));
}
