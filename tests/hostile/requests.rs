//! Tests requests that are slow to arrive, and compressed ones.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tonic::{Code, codec::CompressionEncoding::Gzip, metadata::MetadataMap};
use tonic_types::StatusExt;

use crate::target::{Target, get, store};

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
