//! Tests streams. They last as long as their client wants, and don't delay the exit of a broker that is told to
//! end.

use std::{
    collections::HashSet,
    future::Future,
    time::{Duration, Instant},
};

use futures_util::stream::{self, Stream, StreamExt};
use testkit::{
    broker_process::{BrokerProcess, Ended},
    redis_server::RedisServer,
    waiting::until,
};
use token_broker::{
    config::ServerOptions,
    proto::{streaming_methods, v1},
    rpc::{Stopping, StreamsLayer},
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse,
    server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest::ListServices,
};

use crate::{
    refusal::refused,
    serving::{Serving, get, options},
};

/// How long an exit may take that waits for nothing, on a machine under load. It is less than the grace of 10 s.
const AT_ONCE: Duration = Duration::from_secs(5);

fn list_services() -> ServerReflectionRequest {
    ServerReflectionRequest {
        message_request: Some(ListServices(String::new())),
        ..Default::default()
    }
}

/// Opens a reflection stream and reads the first answer. Its client sends another request when `more` says so.
async fn reflection(
    channel: Channel,
    more: impl Stream<Item = ()> + Send + 'static,
) -> Streaming<ServerReflectionResponse> {
    let asking = stream::once(async {}).chain(more).map(|()| list_services());
    let opened = ServerReflectionClient::new(channel)
        .server_reflection_info(asking)
        .await;
    let mut answers = opened.unwrap().into_inner();
    answers.message().await.unwrap().expect("an answer");
    answers
}

/// Opens a watch and reads its states until the broker serves.
pub async fn watch(channel: Channel) -> Streaming<HealthCheckResponse> {
    let opened = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await;
    let mut states = opened.unwrap().into_inner();
    loop {
        let state = states.message().await.unwrap().expect("a state");
        if state.status() == ServingStatus::Serving {
            return states;
        }
    }
}

/// Returns the remaining messages of a stream, and how it ends.
async fn rest<T>(mut stream: Streaming<T>) -> (Vec<T>, Status) {
    let mut rest = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => rest.push(message),
            Ok(None) => return (rest, Status::ok("")),
            Err(status) => return (rest, status),
        }
    }
}

/// Sends SIGTERM. Returns how the process ended, and how long that took.
fn terminated(broker: BrokerProcess) -> impl Future<Output = (Ended, Duration)> {
    let ended = spawn_blocking(move || {
        let told = Instant::now();
        (broker.terminate(), told.elapsed())
    });
    async { ended.await.unwrap() }
}

fn assert_told_to_go_elsewhere(status: &Status) {
    let shown = (status.code(), status.message());
    assert_eq!(shown, (Code::Unavailable, "the broker is stopping"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_reflection_stream_does_not_delay_the_exit() {
    let broker = BrokerProcess::start(&["--backend", "memory", "--shutdown-grace", "10s"]);
    let answers = reflection(broker.connect().await, stream::pending()).await;
    let (exit, took) = terminated(broker).await;
    assert!(exit.success(), "{exit:?}");
    assert!(took < AT_ONCE, "{took:?}");
    let (more, status) = rest(answers).await;
    assert!(more.is_empty(), "{more:?}");
    assert_told_to_go_elsewhere(&status);
}

/// One client has both streams on one connection, and another client only watches.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_learns_that_the_broker_stops_and_does_not_delay_the_exit() {
    let broker = BrokerProcess::start(&["--backend", "memory", "--shutdown-grace", "10s"]);
    broker.serving().await;
    let shared = broker.connect().await;
    let answers = reflection(shared.clone(), stream::pending()).await;
    let watches = [watch(shared).await, watch(broker.connect().await).await];
    let (exit, took) = terminated(broker).await;
    assert!(exit.success(), "{exit:?}");
    assert!(took < AT_ONCE, "{took:?}");
    for watch in watches {
        let (states, status) = rest(watch).await;
        let states: Vec<_> = states.iter().map(HealthCheckResponse::status).collect();
        assert_eq!(states, [ServingStatus::NotServing]);
        assert_told_to_go_elsewhere(&status);
    }
    assert_told_to_go_elsewhere(&rest(answers).await.1);
}

/// The client opens a stream and sends no request, so there is no answer yet that could end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_not_begun_does_not_delay_the_exit() {
    let broker = BrokerProcess::start(&["--backend", "memory", "--shutdown-grace", "10s"]);
    let channel = broker.connect().await;
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let (asked, asking) = oneshot::channel();
    let never = stream::once(async move { asked.send(()).unwrap() })
        .flat_map(|()| stream::pending::<HealthCheckRequest>());
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
    let opened =
        tokio::spawn(async move { grpc.streaming(Request::new(never), path, codec).await });
    asking.await.unwrap();
    // A broker that is stopping accepts no new streams. The headers come before this call on the same connection.
    let mut health = HealthClient::new(channel);
    health.check(HealthCheckRequest::default()).await.unwrap();
    let (exit, took) = terminated(broker).await;
    assert!(exit.success(), "{exit:?}");
    assert!(took < AT_ONCE, "{took:?}");
    assert_told_to_go_elsewhere(&opened.await.unwrap().unwrap_err());
}

fn is_refused(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
}

/// Streams end when the broker is told to end, but a call may take its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_is_waited_for_when_streams_have_ended() {
    let redis = RedisServer::start();
    let broker = BrokerProcess::start(&[
        "--backend",
        "redis",
        "--redis-url",
        &redis.url(),
        "--redis-timeout",
        "20s",
        "--call-timeout",
        "20s",
        "--max-calls",
        "1",
        "--shutdown-grace",
        "10s",
    ]);
    broker.serving().await;
    let answers = reflection(broker.connect().await, stream::pending()).await;
    redis.pause();
    let mut client = broker.client().await;
    let call = tokio::spawn(async move {
        loop {
            let answer = client.get(get("s", "p")).await;
            // The other client may have had the only place for a moment.
            if !answer.as_ref().is_err_and(is_refused) {
                return answer;
            }
        }
    });
    let other = broker.client().await;
    until("the call is in flight", || {
        let mut other = other.clone();
        async move {
            // If there is a place for this call, it leaves it at once: it is invalid.
            other
                .get(v1::GetRequest::default())
                .await
                .is_err_and(|status| is_refused(&status))
        }
    })
    .await;

    let told = Instant::now();
    let ended = tokio::spawn(terminated(broker));
    assert_told_to_go_elsewhere(&rest(answers).await.1);
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
    sleep(Duration::from_secs(2)).await;
    assert!(!call.is_finished() && !ended.is_finished());
    redis.resume();
    refused(call.await.unwrap(), Code::NotFound, "ROW_NOT_FOUND");
    let (exit, took) = ended.await.unwrap();
    assert!(exit.success(), "{exit:?}");
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(9),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_the_call_timeout() {
    // A connection has no longer than this to begin.
    let call_timeout = Duration::from_secs(1);
    let options = ServerOptions {
        call_timeout,
        ..options()
    };
    let serving = Serving::memory_with(options).await;
    let mut states = watch(serving.channel().await).await;
    let later = stream::once(sleep(2 * call_timeout));
    let mut answers = reflection(serving.channel().await, later.chain(stream::pending())).await;
    let opened = Instant::now();
    let answer = answers.message().await.unwrap();
    assert!(answer.is_some() && opened.elapsed() > call_timeout * 3 / 2);
    let silent = timeout(call_timeout, states.message()).await;
    assert!(silent.is_err(), "the watch goes on: {silent:?}");
}

/// Starts a server with only reflection, with the layer if `layered`. Returns whether it ends within this time after it is
/// told to, while a reflection stream is open.
async fn ends_within(limit: Duration, layered: bool) -> bool {
    let stopping = Stopping::new();
    let methods = streaming_methods(&[tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET]).unwrap();
    let methods = if layered { methods } else { HashSet::new() };
    let reflecting = tonic_reflection::server::Builder::configure().build_v1();
    let router = Server::builder()
        .layer(StreamsLayer::new(methods, stopping.clone()))
        .add_service(reflecting.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let told = stopping.begun();
    let incoming = TcpIncoming::from(listener);
    let mut serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming, told));

    let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
    let _answers = reflection(channel, stream::pending()).await;
    stopping.begin();
    let ended = timeout(limit, &mut serving).await;
    serving.abort();
    ended.is_ok()
}

/// The control: the layer causes what the tests above see. tonic alone waits for streams.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_layer_a_stream_holds_its_server_up() {
    assert!(ends_within(AT_ONCE, true).await);
    assert!(!ends_within(Duration::from_secs(1), false).await);
}
