//! Tests requests that are slow to arrive, and compressed ones.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use testkit::waiting::until;
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tonic::{Code, codec::CompressionEncoding::Gzip, metadata::MetadataMap};
use tonic_types::StatusExt;

use crate::{
    raw::{DATA, Raw, broker_path, in_grpc},
    target::{SMALL, Target, get, store},
};

/// Returns a compressed request that stores `bytes` bytes of tokens, as gRPC frames it.
pub fn swelling(bytes: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let message = store("swelling", "p", bytes / 2).encode_to_vec();
    packed.write_all(&message).unwrap();
    let packed = packed.finish().unwrap();
    let mut framed = vec![1];
    framed.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
    framed.extend(packed);
    framed
}

/// A request that isn't complete is a call in flight, and ends after `call-timeout`.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_sent_request_ends_at_the_call_timeout() {
    // So long that a refusal is told from it, also by a test that stands still for a moment.
    const TIMEOUT: Duration = Duration::from_secs(3);
    let target = Target::start(&["--max-calls", "1", "--call-timeout", "3s"]).await;
    let mut raw = Raw::connect(target.address(), &[]).await.unwrap().reading();
    let mut client = target.broker.client().await;
    let request = in_grpc(&get(SMALL, "p1"));
    // The call before it may still hold the only place for a moment. Then the broker refuses at once.
    let (mut took, mut refused, mut taken) = (Duration::ZERO, 0, 0);
    while took < TIMEOUT / 2 {
        let (ended, began) = (raw.ended(), Instant::now());
        let stream = raw.open(&broker_path("Get")).await.unwrap();
        let most = &request[..request.len() - 1];
        raw.frame(DATA, 0, stream, most).await.unwrap();
        (refused, taken) = (0, 0);
        while raw.ended() == ended {
            match client.get(get(SMALL, "p1")).await {
                Ok(_) => taken += 1,
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                    refused += 1;
                }
            }
        }
        took = began.elapsed();
    }
    // The broker may have begun to count a moment later than this test.
    assert!((2_990..15_000).contains(&took.as_millis()), "{took:?}");
    assert!(refused > taken, "{taken} others had its place");
    until("the place is free", || {
        let mut client = client.clone();
        async move { client.get(get(SMALL, "p1")).await.is_ok() }
    })
    .await;
}

/// The whole message is there, but the client doesn't end its stream and sends more.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_goes_on_is_ended() {
    let target = Target::start(&[]).await;
    let mut raw = Raw::connect(target.address(), &[]).await.unwrap().reading();
    let stream = raw.open(&broker_path("Get")).await.unwrap();
    let requests = in_grpc(&get(SMALL, "p1")).repeat(100);
    let mut sent = 0;
    while raw.ended() == 0 {
        assert!(sent < 1_000_000, "the broker takes any number of messages");
        if raw.takes(stream, sent, requests.len()) {
            raw.frame(DATA, 0, stream, &requests).await.unwrap();
            sent += requests.len();
        }
        tokio::task::yield_now().await;
    }
    assert!(!raw.is_closed());
}

async fn packing(target: &Target) -> TokenBrokerClient<tonic::transport::Channel> {
    target.broker.client().await.send_compressed(Gzip)
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_taken() {
    let target = Target::start(&[]).await;
    let mut client = packing(&target).await;
    client.store(store("packed", "p", 30_000)).await.unwrap();
    let entry = client.get(get("packed", "p")).await.unwrap();
    assert!(!is_packed(entry.metadata()));
    let tokens = entry.into_inner().entry.unwrap().tokens.unwrap();
    assert_eq!(tokens.access_token.len(), 30_000);
}

fn is_packed(metadata: &MetadataMap) -> bool {
    metadata.get("grpc-encoding").is_some()
}

/// The limit on the size of a request counts after it was decompressed.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_that_swells_is_too_large() {
    let target = Target::start(&[]).await;
    let mut client = packing(&target).await;
    let refused = client.store(store("packed", "p", 1_000_000)).await;
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "TOO_LARGE");
}
