//! Tests bytes that aren't a message: `INVALID_ARGUMENT`, because the caller is at fault.

use testkit::requests;
use token_broker::access::Rpc;
use tonic::{Code, Request, Response, Status};

use crate::{
    every_rpc::required,
    refusal::{Refusal, refusal},
    serving::{SECRET, Serving, store},
};

async fn send(serving: &Serving, rpc: Rpc, bytes: &[u8]) -> Result<Response<Vec<u8>>, Status> {
    let request = Request::new(bytes.to_vec());
    requests::send(serving.channel().await, rpc.full_name(), request).await
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_fault() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let long: &[u8] = &[b"\x0a\xff\xff\xff\xff\x07".as_slice(), SECRET.as_bytes()].concat();
    for rpc in Rpc::ALL {
        for bytes in [
            b"\xff".as_slice(),
            b"\x0a\x05ab",
            b"\x07",
            b"\x0a",
            long,
            &[0xff; 64],
        ] {
            let Refusal {
                code,
                reason,
                fields,
                retry_after,
                ..
            } = refusal(send(&serving, *rpc, bytes).await);
            assert_eq!(
                (code, reason.as_str()),
                (Code::InvalidArgument, "INVALID_FIELD"),
                "{rpc:?}"
            );
            assert_eq!((fields.len(), retry_after), (1, None), "{rpc:?} {bytes:?}");
        }
    }
    client.store(store("s", "p")).await.unwrap();
}

/// A text that isn't UTF-8 belongs to one field, which the error names.
#[tokio::test]
async fn text_that_is_no_utf8_names_its_field() {
    let serving = Serving::memory().await;
    serving.client().await;
    let bad = [b"\x0a\x0a".as_slice(), SECRET.as_bytes(), b"\xff\xfe"].concat();
    for rpc in Rpc::ALL {
        let found = refusal(send(&serving, *rpc, &bad).await);
        assert_eq!(found.code, Code::InvalidArgument);
        assert_eq!(found.fields, required(*rpc)[..1], "{rpc:?}");
    }
}

/// An empty input is a message without any field: each required field is named.
#[tokio::test]
async fn an_empty_message_lacks_what_is_required() {
    let serving = Serving::memory().await;
    serving.client().await;
    for rpc in Rpc::ALL {
        let found = refusal(send(&serving, *rpc, b"").await);
        assert_eq!(found.code, Code::InvalidArgument);
        assert_eq!(found.fields, required(*rpc), "{rpc:?}");
    }
}
