//! Tests the limits on what is stored and sent: too much is `RESOURCE_EXHAUSTED`, and nothing is
//! stored.

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant};
use token_broker::{config::ServerOptions, proto::v1};
use tonic::Code::ResourceExhausted;

use crate::{
    refusal::refused,
    serving::{SECRET, Serving, get, get_all, options, session, store},
};

const KIB: usize = 1024;

fn secret(bytes: usize) -> String {
    let repeated = SECRET.repeat(bytes / SECRET.len() + 1);
    repeated[..bytes].to_owned()
}

fn storing(tokens: v1::UpstreamTokens) -> v1::StoreRequest {
    v1::StoreRequest {
        tokens: Some(tokens),
        ..store("s", "p")
    }
}

#[tokio::test]
async fn a_token_above_its_limit() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    for field in 0..3 {
        let tokens = |bytes| {
            let mut tokens = v1::UpstreamTokens::default();
            let token = [
                &mut tokens.access_token,
                &mut tokens.refresh_token,
                &mut tokens.id_token,
            ];
            *token.into_iter().nth(field).unwrap() = secret(bytes);
            tokens
        };
        let over = client.store(storing(tokens(32 * KIB + 1))).await;
        refused(over, ResourceExhausted, "TOO_LARGE");
        client.store(storing(tokens(32 * KIB))).await.unwrap();
    }
}

#[tokio::test]
async fn a_row_above_its_limit() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let of_tokens = v1::UpstreamTokens {
        access_token: secret(31 * KIB),
        refresh_token: secret(31 * KIB),
        ..Default::default()
    };
    let of_scopes = v1::UpstreamTokens {
        access_token: secret(1),
        scopes: vec!["scope".to_owned(); 9 * KIB],
        ..Default::default()
    };
    for tokens in [of_tokens, of_scopes] {
        refused(
            client.store(storing(tokens)).await,
            ResourceExhausted,
            "TOO_LARGE",
        );
    }
    refused(
        client.get(get("s", "p")).await,
        tonic::Code::NotFound,
        "ROW_NOT_FOUND",
    );
}

#[tokio::test]
async fn a_message_above_its_limit() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    for bytes in [129 * KIB, 3 * KIB * KIB] {
        let tokens = v1::UpstreamTokens {
            access_token: secret(bytes),
            ..Default::default()
        };
        refused(
            client.store(storing(tokens)).await,
            ResourceExhausted,
            "TOO_LARGE",
        );
    }
    let huge = v1::GetRequest {
        session_id: secret(200 * KIB),
        ..get("s", "p")
    };
    refused(client.get(huge).await, ResourceExhausted, "TOO_LARGE");
    client.store(store("s", "p")).await.unwrap();
}

/// An answer that one connection may never hold isn't worth another try.
#[tokio::test]
async fn an_answer_that_never_fits() {
    let tenant = RedisTenant::on(RedisServer::shared());
    let options = ServerOptions {
        max_bytes_in_flight: 1,
        ..options()
    };
    let serving = Serving::redis(&tenant, options).await;
    let mut client = serving.client().await;
    // Other software keeps to no limit. A row that is larger than 2 MiB isn't read at all.
    let session = session("s");
    let index = tenant.key(&format!("upstream:idx:{session}"));
    let json = format!(r#"{{"access_token":"{}"}}"#, secret(KIB * KIB + 512 * KIB));
    for provider in ["p", "q", "r", "s"] {
        let row = tenant.key(&format!("upstream:{session}:{provider}"));
        tenant.run::<()>(&["SET", &row, &json]);
        tenant.run::<()>(&["SADD", &index, &row]);
    }
    client.get(get("s", "p")).await.unwrap();
    let all = client.get_all(get_all("s")).await;
    refused(all, ResourceExhausted, "TOO_LARGE");
}

#[tokio::test]
async fn one_provider_too_many() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    for number in 0..64 {
        client
            .store(store("s", &format!("p{number}")))
            .await
            .unwrap();
    }
    let one_more = client.store(store("s", "one-more")).await;
    refused(one_more, ResourceExhausted, "TOO_MANY_PROVIDERS");
    client.store(store("t", "one-more")).await.unwrap();
}

/// Stores rows of the largest accepted size, under the longest names, as many as a session may
/// have. A client with gRPC's default limits can read all of them at once.
async fn fits_into_one_answer(tokens: v1::UpstreamTokens) {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    for number in 0..64 {
        let provider = format!("{number:0>512}");
        let request = v1::StoreRequest {
            tokens: Some(tokens.clone()),
            ..store("s", &provider)
        };
        client.store(request).await.unwrap();
    }
    let mut larger = tokens;
    larger.access_token.push('x');
    let request = v1::StoreRequest {
        tokens: Some(larger),
        ..store("s", &format!("{:0>512}", 0))
    };
    refused(client.store(request).await, ResourceExhausted, "TOO_LARGE");
    let all = client.get_all(get_all("s")).await.unwrap().into_inner();
    assert_eq!((all.entries.len(), all.unreadable.len()), (64, 0));
}

#[tokio::test]
async fn a_session_full_of_tokens_fits_into_one_answer() {
    let tokens = v1::UpstreamTokens {
        access_token: secret(30 * KIB),
        refresh_token: secret(30 * KIB),
        ..Default::default()
    };
    fits_into_one_answer(tokens).await;
}

/// Each scope has a frame of its own on the wire, which adds to the size.
#[tokio::test]
async fn a_session_full_of_scopes_fits_into_one_answer() {
    let tokens = v1::UpstreamTokens {
        access_token: secret(3),
        scopes: vec!["s".to_owned(); 20 * KIB - 1],
        ..Default::default()
    };
    fits_into_one_answer(tokens).await;
}
