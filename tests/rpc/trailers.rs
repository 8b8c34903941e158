//! Tests that every client can read an error: all that goes into headers and trailers stays well under
//! 4 KiB, whatever the request holds. Some clients and proxies drop a larger error, or hang (guarantees,
//! section 2.5).

use prost::Message;
use token_broker::{access::Rpc, proto::v1};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        Bytes, Service,
        http::{HeaderMap, Request, Response},
    },
    transport::Channel,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest,
    server_reflection_request::MessageRequest::{self, FileByFilename, FileContainingSymbol},
};
use tonic_types::StatusExt;

use crate::{
    refusal::{LARGEST_ERROR, size_of},
    serving::{Serving, get, store},
};

const STORE: &str = "/tokenbroker.v1.TokenBroker/Store";

/// Texts that grow to three times their size in a header, and one that doesn't.
const HOSTILE: [&str; 3] = ["\u{436}", "\"", "x"];

/// Sends one message as bytes. Returns all headers and trailers of the answer.
async fn answer(
    channel: &mut Channel,
    path: &str,
    message: &[u8],
    headers: &[(&'static str, &str)],
) -> HeaderMap {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0], &length[..], message].concat();
    let mut request = Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    let body = Body::new(http_body_util::Full::new(Bytes::from(framed)));
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .unwrap();
    let answered: Response<Body> = channel.call(request.body(body).unwrap()).await.unwrap();
    let (parts, mut body) = answered.into_parts();
    let mut all = parts.headers;
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        if let Ok(trailers) = frame.unwrap().into_trailers() {
            all.extend(trailers);
        }
    }
    all
}

/// Checks that an error is small enough, and returns it.
#[track_caller]
fn readable(what: &str, answer: &HeaderMap) -> Status {
    let status = Status::from_header_map(answer).unwrap_or_else(|| panic!("{what}: no status"));
    assert_ne!(status.code(), Code::Ok, "{what}");
    let size = size_of(answer);
    assert!(size <= LARGEST_ERROR, "{what}: {size} bytes");
    status
}

fn storing(change: impl FnOnce(&mut v1::StoreRequest)) -> Vec<u8> {
    let mut request = store("s", "p");
    change(&mut request);
    request.encode_to_vec()
}

fn with_scopes(scope: &str, number: usize) -> Vec<u8> {
    storing(|request| {
        request.tokens.as_mut().unwrap().scopes = vec![scope.to_owned(); number];
    })
}

/// An invalid value of every field, among them two that have a whole list of violations.
fn all_wrong() -> Vec<u8> {
    let bad = |text: &str| text.repeat(600);
    let time = Some(prost_types::Timestamp {
        seconds: -1,
        nanos: -1,
    });
    storing(|request| {
        request.session_id = bad("\u{436}");
        request.provider = bad("\"");
        request.precondition = Some(v1::Precondition::default());
        let tokens = request.tokens.as_mut().unwrap();
        *tokens = v1::UpstreamTokens {
            token_type: bad("%"),
            scopes: vec!["\u{a0}".to_owned(); 1_000],
            expires_at: time,
            session_expires_at: time,
            refresh_expires_at: time,
            user_id: bad("\n"),
            upstream_subject: bad("\0"),
            client_id: bad(" "),
            ..Default::default()
        };
    })
}

#[tokio::test]
async fn an_error_with_many_violations_names_a_few_and_says_how_many_more() {
    let serving = Serving::memory().await;
    let mut channel = serving.channel().await;
    serving.client().await;
    for number in [1, 8, 9, 28, 500, 40_000] {
        let answered = answer(&mut channel, STORE, &with_scopes("", number), &[]).await;
        let status = readable(&format!("{number} scopes"), &answered);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let named = details.bad_request().unwrap().field_violations.len();
        assert_eq!(named, number.min(8), "{number} scopes");
        let more = number.saturating_sub(3);
        let told = status.message().ends_with(&format!("; and {more} more"));
        assert_eq!(told, more > 0, "{status:?}");
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(metadata["violations"], number.to_string());
    }
    let status = readable(
        "all fields",
        &answer(&mut channel, STORE, &all_wrong(), &[]).await,
    );
    let details = status.get_error_details();
    let first = &details.bad_request().unwrap().field_violations[0];
    assert_eq!(first.field, "session_id");
}

#[tokio::test]
async fn an_error_stays_small_whatever_the_request_holds() {
    let serving = Serving::memory().await;
    let mut channel = serving.channel().await;
    serving.client().await;
    for text in HOSTILE {
        let long = text.repeat(3_000);
        // tonic repeats the name of an encoding that it doesn't know, and the symbol that it doesn't find.
        let encoding = [("grpc-encoding", long.as_str())];
        for rpc in Rpc::ALL {
            let (what, path) = (
                format!("{rpc} encoded as {text}"),
                format!("/tokenbroker.v1.{rpc}"),
            );
            let answered = answer(&mut channel, &path, b"", &encoding).await;
            readable(&what, &answered);
        }
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            for ask in [FileContainingSymbol, FileByFilename] as [fn(String) -> MessageRequest; 2] {
                let asked = ServerReflectionRequest {
                    host: long.clone(),
                    message_request: Some(ask(long.clone())),
                };
                let answered = answer(&mut channel, &path, &asked.encode_to_vec(), &[]).await;
                let status = readable(&format!("{version} {text}"), &answered);
                assert_eq!(status.code(), Code::NotFound);
                assert!(status.message().contains(text), "{status:?}");
            }
        }
        let unknown = tonic_health::pb::HealthCheckRequest { service: long };
        let check = "/grpc.health.v1.Health/Check";
        let answered = answer(&mut channel, check, &unknown.encode_to_vec(), &[]).await;
        readable(&format!("health {text}"), &answered);
        let path = format!("/{}/x", "x".repeat(3_000));
        let answered = answer(&mut channel, &path, b"", &[]).await;
        assert_eq!(readable("a path", &answered).code(), Code::Unimplemented);
    }
    // The connection is as good as before.
    let get = get("s", "p").encode_to_vec();
    let path = "/tokenbroker.v1.TokenBroker/Get";
    let status = readable("Get", &answer(&mut channel, path, &get, &[]).await);
    assert_eq!(status.code(), Code::NotFound);
}
