//! Tests of traces: which spans a collector gets, that no secret is in them, and that no call ever waits for a
//! collector.

mod collector;
mod revocations;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use testkit::{
    authority::{Authority, Wanted},
    broker::rules,
    panicking_log::PanickingLog,
    provider,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    reserved_port::ReservedPort,
    sealing,
    token_endpoint::{Behaviour, TokenEndpoint},
    waiting::until,
};
use token_broker::{
    access::Guard,
    server::Ready,
    store::{FullStore, MemoryStore},
    tokens::Rules,
    traces::{Attribute, Collector, Kind, Parent, Traces, TracesOptions},
    types::{ProviderName, Secret},
};
use tonic::{Code, Request, transport::Identity};

use self::collector::{Collecting, Does, closed, options};
use crate::{
    access_tokens::{after, one},
    every_rpc::every_call,
    serving::{SECRET, Serving, get, options as server_options, session, store},
    streams::watch,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
/// Long enough for whatever a test sends, on any machine.
const END: Duration = Duration::from_secs(20);

fn asking<M>(message: M) -> Request<M> {
    with_parent(message, &format!("00-{TRACE}-{SPAN}-01"))
}

fn with_parent<M>(message: M, parent: &str) -> Request<M> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", parent.parse().unwrap());
    metadata.insert("tracestate", format!("vendor={SECRET}").parse().unwrap());
    metadata.insert("baggage", format!("user={SECRET}").parse().unwrap());
    request
}

async fn traced<S: FullStore>(store: S, rules: Rules, traces: &Traces) -> Serving {
    let guard = Guard::open(rules.tenant.clone());
    let tenant = (store, rules, Box::new(Ready) as _);
    let serving = Serving::traced(guard, tenant, traces.clone(), server_options()).await;
    // A call that comes before that isn't admitted, and so isn't traced.
    watch(serving.channel().await).await;
    serving
}

async fn in_memory(traces: &Traces) -> Serving {
    traced(
        MemoryStore::new(),
        rules("default:default".parse().unwrap()),
        traces,
    )
    .await
}

fn said(span: &Span) -> BTreeMap<&str, String> {
    let attributes = span.attributes.iter();
    attributes
        .map(|pair| {
            let value = pair.value.as_ref().unwrap().value.as_ref().unwrap();
            let value = match value {
                Value::StringValue(text) => text.clone(),
                Value::IntValue(number) => number.to_string(),
                other => panic!("{other:?}"),
            };
            (pair.key.as_str(), value)
        })
        .collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The only span of this name.
fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    let (Some(only), None) = (found.next(), found.next()) else {
        panic!("{name} isn't once in {names:?}");
    };
    only
}

fn children<'s>(spans: &'s [Span], parent: &Span) -> Vec<&'s str> {
    let of = spans
        .iter()
        .filter(|span| span.parent_span_id == parent.span_id);
    let mut names: Vec<_> = of.map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn is_failed(span: &Span) -> bool {
    let status = span.status.as_ref();
    status.is_some_and(|status| status.code() == StatusCode::Error)
}

#[tokio::test]
async fn a_get_is_a_part_of_its_callers_trace() {
    let collecting = Collecting::start(Does::Take, None).await;
    let traces = Traces::start(collecting.options());
    let tenant = RedisTenant::on(RedisServer::shared());
    let serving = traced(tenant.store(), rules(tenant.name().clone()), &traces).await;
    let mut client = serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    client.get(asking(get("s", "p"))).await.unwrap();
    let refused = client.get(asking(get("other", "p"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    closed(&traces, END).await;

    let spans = collecting.spans();
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) == TRACE),
        "{spans:#?}"
    );
    assert!(spans.iter().all(|span| span.trace_state.is_empty()));
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "tokenbroker.v1.TokenBroker/Get")
        .collect();
    assert_eq!(calls.len(), 2, "only what callers ask for: {spans:#?}");
    for (call, code) in calls.iter().zip(["0", "5"]) {
        assert_eq!(hex(&call.parent_span_id), SPAN);
        assert_eq!(call.kind(), SpanKind::Server);
        assert_eq!(call.flags, 0x301, "its parent is remote");
        let said = said(call);
        assert_eq!(said["rpc.system"], "grpc");
        assert_eq!(said["rpc.service"], "tokenbroker.v1.TokenBroker");
        assert_eq!(said["rpc.method"], "Get");
        assert_eq!(said["rpc.grpc.status_code"], code);
        assert_eq!(said["token_broker.tenant"], tenant.name().to_string());
        assert_eq!(said["token_broker.caller_class"], "none");
        assert_eq!(children(&spans, call), ["get"]);
        assert!(
            !is_failed(call),
            "a caller that is wrong is no failure of the broker"
        );
        assert!(call.end_time_unix_nano >= call.start_time_unix_nano);
    }
    assert_eq!(said(calls[1])["token_broker.reason"], "ROW_NOT_FOUND");
    let asked = spans.iter().find(|span| span.name == "get").unwrap();
    assert_eq!(asked.kind(), SpanKind::Client);
    assert_eq!(asked.flags, 0x101);
    assert_eq!(
        said(asked),
        BTreeMap::from([("db.operation.name", "get".to_owned())])
    );
    let resource = collecting.resource();
    for (key, text) in [("service.name", "broker"), ("service.instance.id", "one")] {
        assert!(
            resource.contains(&(key.to_owned(), text.to_owned())),
            "{resource:?}"
        );
    }
}

#[tokio::test]
async fn a_refresh_is_one_span_to_which_those_who_wait_are_linked() {
    let endpoint = TokenEndpoint::start().await;
    let answer = format!(
        r#"{{"access_token":"at2-{SECRET}","refresh_token":"rt2-{SECRET}","token_type":"Bearer","expires_in":3600}}"#
    );
    endpoint.behave(
        "/token",
        [Behaviour::json(200, &answer).after(Duration::from_millis(300))],
    );
    let mut at = provider::options("p");
    at.endpoints.token = Some(endpoint.url("/token").parse().unwrap());
    let rules = Rules {
        providers: provider::providers([at]),
        ..rules("default:default".parse().unwrap())
    };
    let collecting = Collecting::start(Does::Take, None).await;
    let traces = Traces::start(collecting.options());
    let serving = traced(MemoryStore::new(), rules, &traces).await;
    let mut row = store("s", "p");
    row.tokens.as_mut().unwrap().expires_at = after(-60);
    serving.client().await.store(row).await.unwrap();
    let access = serving.access_tokens().await;
    let both = join_all((0..2).map(|_| {
        let mut access = access.clone();
        async move {
            access
                .get_access_token(asking(one("s", "p")))
                .await
                .unwrap()
        }
    }));
    both.await;
    closed(&traces, END).await;

    let spans = collecting.spans();
    let refresh = only(&spans, "refresh");
    assert_eq!(said(refresh)["token_broker.provider"], "p");
    assert_eq!(said(refresh)["token_broker.outcome"], "refreshed");
    let parts = children(&spans, refresh);
    for part in [
        "look",
        "provider_gate",
        "prepare",
        "change",
        "provider_request",
    ] {
        assert!(parts.contains(&part), "{part} isn't in {parts:?}");
    }
    let request = only(&spans, "provider_request");
    assert_eq!(said(request)["http.request.method"], "POST");
    assert_eq!(said(request)["http.response.status_code"], "200");
    let waits: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "refresh_wait")
        .collect();
    assert_eq!(waits.len(), 2);
    for wait in waits {
        assert_eq!(wait.links.len(), 1, "{wait:#?}");
        assert_eq!(wait.links[0].span_id, refresh.span_id);
        assert_eq!(wait.links[0].trace_id, refresh.trace_id);
    }
    // Nothing of it is told to the provider.
    let received = endpoint.received_at("/token");
    assert_eq!(received.len(), 1);
    for header in ["traceparent", "tracestate", "baggage"] {
        assert_eq!(received[0].header(header), None);
    }
    assert!(!holds(&collecting.bytes(), SECRET));
}

#[tokio::test]
async fn who_is_traced_is_the_brokers_decision() {
    let collecting = Collecting::start(Does::Take, None).await;
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    let uppercase = format!("00-{}-{SPAN}-01", TRACE.to_uppercase());
    for (part, asked, parent, is_traced) in [
        (0.0, 1000, Some(&*unsampled), false),
        (1.0, 1000, Some(&*unsampled), false),
        // What isn't a parent is as none.
        (0.0, 1000, Some(&*uppercase), false),
        (0.0, 1000, Some("garbage"), false),
        (0.0, 1000, None, false),
        (0.0, 0, Some("asks"), false),
        (0.0, 1, Some("asks"), true),
        (1.0, 0, Some("asks"), true),
        (1.0, 0, Some(&*uppercase), true),
        (1.0, 0, None, true),
    ] {
        let before = collecting.spans().len();
        let traces = Traces::start(TracesOptions {
            part,
            asked,
            ..collecting.options()
        });
        let serving = in_memory(&traces).await;
        let mut client = v1_client(&serving).await;
        let request = match parent {
            Some("asks") => asking(get("s", "p")),
            Some(parent) => with_parent(get("s", "p"), parent),
            None => Request::new(get("s", "p")),
        };
        client.get(request).await.unwrap_err();
        let became = closed(&traces, END).await;
        let spans = collecting.spans().split_off(before);
        let calls: Vec<_> = spans
            .iter()
            .filter(|span| span.name.ends_with("/Get"))
            .collect();
        let what = format!("{part} {asked} {parent:?}: {became:?} {spans:#?}");
        assert_eq!(calls.len(), usize::from(is_traced), "{what}");
        for call in calls {
            let is_callers = hex(&call.trace_id) == TRACE;
            assert_eq!(is_callers, parent == Some("asks"), "{what}");
            assert_eq!(call.parent_span_id.is_empty(), !is_callers, "{what}");
        }
    }
}

/// A client of a broker that admits calls from the start.
async fn v1_client(serving: &Serving) -> crate::serving::Client {
    crate::serving::Client::new(serving.channel().await)
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_slows_nobody_and_holds_little() {
    const ROOM: usize = 64;
    const CALLS: u64 = 400;
    let hanging = Collecting::start(Does::Hang, None).await;
    // Nobody listens there.
    let away = ReservedPort::new();
    for (address, does) in [(hanging.address, "hangs"), (away.address(), "is away")] {
        let traces = Traces::start(TracesOptions {
            room: ROOM,
            ..options(&format!("http://{address}"))
        });
        let serving = in_memory(&traces).await;
        let mut client = serving.client().await;
        for _ in 0..CALLS {
            client.get(asking(get("s", "p"))).await.unwrap_err();
        }
        let figures = traces.figures().unwrap();
        // Those in the queue, and those that are being sent.
        assert!(figures.waiting() <= 2 * ROOM as u64 + 512, "it {does}");
        let began = Instant::now();
        let limit = Duration::from_millis(100);
        let (exported, dropped, failed) = closed(&traces, limit).await;
        assert!(began.elapsed() < END, "it {does}");
        assert_eq!(exported, 0, "it {does}");
        assert_eq!(dropped + failed, 2 * CALLS, "each is counted, it {does}");
        let text = serving.metrics();
        for (name, count) in [("dropped", dropped), ("failed", failed), ("exported", 0)] {
            let line = format!("token_broker_trace_spans_{name}_total {count}\n");
            assert!(text.contains(&line), "{line} isn't in {text}");
        }
        // Calls go on.
        client.get(asking(get("s", "p"))).await.unwrap_err();
    }
}

#[tokio::test]
async fn spans_that_a_collector_refuses_are_counted() {
    for (does, counts) in [
        (Does::Take, (2, 0, 0)),
        (Does::RefuseSome(1), (1, 0, 1)),
        // A number that makes no sense.
        (Does::RefuseSome(1000), (0, 0, 2)),
        (Does::RefuseSome(-1), (2, 0, 0)),
        (Does::Fail, (0, 0, 2)),
    ] {
        let collecting = Collecting::start(does, None).await;
        let traces = Traces::start(collecting.options());
        let serving = in_memory(&traces).await;
        let mut client = serving.client().await;
        client.get(asking(get("s", "p"))).await.unwrap_err();
        // Nothing is waited for at the end: all spans are on their way when this returns.
        let found = closed(&traces, END).await;
        let counts = match (does, collecting.authorizations().len()) {
            // On a machine under load each span may have a request of its own, and one of each is refused.
            (Does::RefuseSome(1), 2) => (0, 0, 2),
            _ => counts,
        };
        assert_eq!(found, counts, "{does:?}");
    }
}

/// A panic while spans are sent loses those, and counts them.
#[tokio::test]
async fn a_panic_does_not_end_the_sending_of_spans() {
    let collecting = Collecting::start(Does::FailOnce, None).await;
    let traces = Traces::start(TracesOptions {
        part: 1.0,
        ..collecting.options()
    });
    let span = || drop(traces.begin("s", "m", &http::HeaderMap::new()).unwrap());
    let log = PanickingLog::at("spans can't be sent to the collector", 1);
    span();
    until("it panics", async || log.panics() == 1).await;
    assert_eq!(traces.figures().unwrap().failed.get(), 1);
    span();
    until("a span arrives", async || collecting.spans().len() == 2).await;
    assert_eq!(closed(&traces, END).await, (1, 0, 1));
}

/// The test has one thread, so nothing is sent before the end.
#[tokio::test]
async fn what_waits_at_the_end_is_sent_in_as_many_requests_as_it_takes() {
    const SPANS: u64 = 1300;
    let collecting = Collecting::start(Does::Take, None).await;
    let traces = Traces::start(TracesOptions {
        part: 1.0,
        ..collecting.options()
    });
    for _ in 0..SPANS {
        drop(traces.begin("s", "m", &http::HeaderMap::new()).unwrap());
    }
    assert_eq!(traces.figures().unwrap().waiting(), SPANS);
    assert_eq!(closed(&traces, END).await, (SPANS, 0, 0));
    assert_eq!(collecting.authorizations().len(), 3);
    // Later ones are dropped.
    drop(traces.begin("s", "m", &http::HeaderMap::new()).unwrap());
    assert_eq!(closed(&traces, END).await, (SPANS, 1, 0));
}

#[tokio::test]
async fn the_collector_is_asked_who_it_is() {
    let authority = Authority::new("collectors");
    let identity = authority.sign(&Wanted::server());
    let identity = Identity::from_pem(&identity.certificate, &identity.key);
    let collecting = Collecting::start(Does::Take, Some(identity)).await;
    let address = format!("https://{}", collecting.address);
    let header = Secret::new("authorization: Bearer hunter2".to_owned());
    let other = Authority::new("others");
    for (ca, exported) in [(&authority, 2), (&other, 0)] {
        let collector = Collector::new(&address, Some(ca.pem.as_bytes()), header.as_ref());
        let traces = Traces::start(TracesOptions {
            collector: collector.unwrap(),
            ..options("http://127.0.0.1:1")
        });
        let serving = in_memory(&traces).await;
        let mut client = serving.client().await;
        client.get(asking(get("s", "p"))).await.unwrap_err();
        let (found, ..) = closed(&traces, END).await;
        assert_eq!(found, exported);
    }
    assert_eq!(
        collecting.authorizations(),
        [Some("Bearer hunter2".to_owned())]
    );
}

/// Whether bytes hold a text, in whatever case.
fn holds(bytes: &[u8], text: &str) -> bool {
    let (bytes, text) = (bytes.to_ascii_lowercase(), text.to_ascii_lowercase());
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn no_id_and_no_token_is_in_any_span() {
    let collecting = Collecting::start(Does::Take, None).await;
    let traces = Traces::start(TracesOptions {
        part: 1.0,
        ..collecting.options()
    });
    let tenant = RedisTenant::on(RedisServer::shared());
    let sealed =
        token_broker::store::Sealed::new(tenant.store(), sealing::sealing(tenant.name(), &["k"]));
    let serving = traced(sealed, rules(tenant.name().clone()), &traces).await;
    let mut client = serving.client().await;
    let mut row = store("s", "p");
    let tokens = row.tokens.as_mut().unwrap();
    for id in [
        &mut tokens.user_id,
        &mut tokens.client_id,
        &mut tokens.upstream_subject,
    ] {
        *id = format!("{id}-{SECRET}");
    }
    client.store(row).await.unwrap();
    client.get(get("s", "p")).await.unwrap();
    // The names that callers make up are secrets, too.
    client.get(get("s", &session("p"))).await.unwrap_err();
    let mut access = serving.access_tokens().await;
    access
        .get_access_token(one("s", &session("p")))
        .await
        .unwrap_err();
    let mut expired = store("e", &session("p"));
    expired.tokens.as_mut().unwrap().expires_at = after(-60);
    client.store(expired).await.unwrap();
    _ = access.get_access_token(one("e", &session("p"))).await;
    // Whatever they answer.
    every_call(serving.channel().await).await;
    // The control: what leaks is found. The type of an attribute has one place for a name, which must be a configured one.
    let parent = Parent::of(asking(()).metadata().as_ref());
    assert!(parent.is_some());
    let headers = http::HeaderMap::new();
    let leak = "planted-LEAK";
    let span = traces.begin("s", "m", &headers).unwrap();
    span.note(Attribute::Provider(ProviderName::new(leak).unwrap()));
    drop(span.child("c", Kind::Internal));
    drop(span);
    let (exported, dropped, failed) = closed(&traces, END).await;
    assert_eq!((dropped, failed), (0, 0));
    assert!(exported > 30, "{exported}");
    let bytes = collecting.bytes();
    assert!(holds(&bytes, leak));
    assert!(!holds(&bytes, SECRET));
    let names: Vec<_> = collecting
        .spans()
        .into_iter()
        .map(|span| span.name)
        .collect();
    for name in ["seal", "open", "put", "get", "get_session", "delete_user"] {
        assert!(
            names.iter().any(|found| found == name),
            "{name} isn't in {names:?}"
        );
    }
}
