//! The listeners for machines that bring no certificate.

use std::{net::SocketAddr, time::Duration};

use testkit::waiting::until;
use token_broker::proto::v1::{
    GetAccessTokenRequest, access_tokens_client::AccessTokensClient,
    token_broker_client::TokenBrokerClient,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::broker::{Broker, request};

const PATIENCE: Duration = Duration::from_secs(20);
const LISTENERS: [&str; 4] = [
    "--health-listen",
    "127.0.0.1:0",
    "--metrics-listen",
    "127.0.0.1:0",
];

async fn plain(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// Sends a request of HTTP/1, and returns everything that is answered.
async fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection ends")
        .ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns what is answered to a `GET`.
async fn get(address: SocketAddr, path: &str) -> String {
    http(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_listener_serves_health_and_nothing_else() {
    let broker = Broker::start(&LISTENERS).await;
    let address = broker.process.logged_address("health_address");
    let channel = plain(address).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "liveness", "tokenbroker.v1.TokenBroker"] {
        until("it is SERVING", || {
            let mut health = health.clone();
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            async move {
                let answer = health.check(request).await.unwrap().into_inner();
                answer.status() == ServingStatus::Serving
            }
        })
        .await;
    }
    let request_of_watch = HealthCheckRequest::default();
    let mut watch = health.watch(request_of_watch).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let refused = TokenBrokerClient::new(channel.clone()).get(request()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    let refused = AccessTokensClient::new(channel.clone())
        .get_access_token(GetAccessTokenRequest::default())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let refused = grpc
        .unary::<HealthCheckRequest, HealthCheckRequest, _>(
            tonic::Request::new(HealthCheckRequest::default()),
            path.parse().unwrap(),
            tonic_prost::ProstCodec::default(),
        )
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    // HTTP/1 isn't spoken there.
    let answer = get(address, "/metrics").await;
    assert!(!answer.contains("token_broker"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_listener_serves_three_pages_and_nothing_else() {
    let broker = Broker::start(&LISTENERS).await;
    let address = broker.process.logged_address("metrics_address");
    until("it is ready", || async {
        get(address, "/readyz").await.starts_with("HTTP/1.1 200")
    })
    .await;
    let live = get(address, "/livez").await;
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("token_broker_build_info{"), "{metrics}");
    for path in [
        "/",
        "/metrics/",
        "/debug",
        "//livez",
        "/tokenbroker.v1.TokenBroker/Get",
    ] {
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let post = http(
        address,
        "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    );
    let post = post.await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    // gRPC isn't spoken there.
    let answer = http(address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
}

/// Whoever opens connections and says nothing is closed, and probes are answered after that.
#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_take_up_the_metrics_listener_for_a_moment() {
    let broker = Broker::start(&LISTENERS).await;
    let address = broker.process.logged_address("metrics_address");
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nx: ")
            .await
            .unwrap();
        silent.push(stream);
    }
    let mut first = silent.remove(0);
    let mut answer = Vec::new();
    timeout(PATIENCE, first.read_to_end(&mut answer))
        .await
        .expect("a silent connection is closed")
        .ok();
    drop(silent);
    let live = timeout(PATIENCE, get(address, "/livez")).await.unwrap();
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
}
