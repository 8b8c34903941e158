//! Revocation (RFC 7009).

use std::time::Duration;

use testkit::token_endpoint::Behaviour;
use token_broker::refresh::provider::{Provider, Revocation, TokenHint, Why};

use crate::setup::{options_at, secret, server, tokens};

const REVOKE: &str = "/revoke";

#[tokio::test]
async fn a_token_is_revoked_with_one_request() {
    let server = server(tokens()).await;
    server.behave(REVOKE, [Behaviour::answer(200, &[], "")]);
    let mut options = options_at(&server);
    options.endpoints.revocation = Some(server.url(REVOKE).parse().unwrap());
    let provider = Provider::new(options);
    let revoked = provider
        .revoke(&secret("the-token"), TokenHint::RefreshToken)
        .await;
    assert_eq!(revoked, Revocation::Revoked);
    let requests = server.received();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].parameter("token"), Some("the-token"));
    assert_eq!(
        requests[0].parameter("token_type_hint"),
        Some("refresh_token")
    );
    assert_eq!(requests[0].parameter("client_id"), Some("client"));
}

#[tokio::test]
async fn each_answer_is_classed() {
    let failed = |status, seconds: Option<u64>| Revocation::Failed {
        why: Why::Status(status),
        retry_after: seconds.map(Duration::from_secs),
    };
    for (behaviour, meaning) in [
        (
            Behaviour::answer(503, &["Retry-After: 3"], ""),
            failed(503, Some(3)),
        ),
        (Behaviour::answer(429, &[], ""), failed(429, None)),
        (Behaviour::answer(500, &[], ""), failed(500, None)),
        (Behaviour::answer(408, &[], ""), failed(408, None)),
        (
            Behaviour::json(400, r#"{"error":"unsupported_token_type"}"#),
            Revocation::Unsupported,
        ),
        (
            Behaviour::json(400, r#"{"error":"invalid_token"}"#),
            Revocation::Revoked,
        ),
        (
            Behaviour::answer(404, &[], ""),
            Revocation::Refused(Why::Status(404)),
        ),
        (
            Behaviour::raw(""),
            Revocation::Failed {
                why: Why::ConnectionLost,
                retry_after: None,
            },
        ),
    ] {
        let server = server(tokens()).await;
        server.behave(REVOKE, [behaviour]);
        let mut options = options_at(&server);
        options.endpoints.revocation = Some(server.url(REVOKE).parse().unwrap());
        let provider = Provider::new(options);
        let found = provider.revoke(&secret("t"), TokenHint::AccessToken).await;
        assert_eq!(found, meaning);
        assert_eq!(server.received().len(), 1);
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_sent() {
    let server = server(tokens()).await;
    let provider = Provider::new(options_at(&server));
    let found = provider.revoke(&secret("t"), TokenHint::RefreshToken).await;
    assert_eq!(found, Revocation::Unsupported);
    assert_eq!(server.connections(), 0);
}
