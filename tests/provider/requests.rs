//! What is sent.

use token_broker::types::Origin;

use crate::setup::{options_at, redeem, server, tokens};

#[tokio::test]
async fn a_request_is_that_of_rfc_6749() {
    let server = server(tokens()).await;
    redeem(options_at(&server)).await;
    let received = server.received();
    assert_eq!(received.len(), 1);
    let request = &received[0];
    assert!(
        request.head.starts_with("POST /token HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    let kind = request.header("content-type");
    assert_eq!(kind, Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("host"), Some(&*server.address().to_string()));
    assert_eq!(request.parameter("grant_type"), Some("refresh_token"));
    assert_eq!(
        request.parameter("refresh_token"),
        Some("the-refresh-token")
    );
    for unset in ["scope", "resource", "audience"] {
        assert_eq!(request.parameter(unset), None, "{unset}");
    }
}

#[tokio::test]
async fn what_is_configured_is_sent() {
    let server = server(tokens()).await;
    let mut options = options_at(&server);
    options.scopes = vec!["openid".to_owned(), "offline_access".to_owned()];
    options.resource = vec![
        "https://a.example/".to_owned(),
        "https://b.example/".to_owned(),
    ];
    options.audience = Some("api".to_owned());
    redeem(options).await;
    let request = &server.received()[0];
    assert_eq!(request.parameter("scope"), Some("openid%20offline_access"));
    assert_eq!(request.parameter("audience"), Some("api"));
    assert_eq!(request.body.matches("resource=").count(), 2);
}

#[tokio::test]
async fn a_token_goes_only_where_it_was_obtained() {
    let server = server(tokens()).await;
    let mut options = options_at(&server);
    let origin = |server: &str, client: &str| Origin {
        server: server.to_owned(),
        client_id: client.to_owned(),
    };
    assert_eq!(options.origin(), origin(&server.url("/token"), "client"));
    options.formerly = vec![origin("https://old.example", "old")];
    assert!(options.accepts(&options.origin()));
    assert!(options.accepts(&origin("https://old.example", "old")));
    assert!(!options.accepts(&origin("https://old.example", "client")));
    assert!(!options.accepts(&origin("https://evil.example", "client")));
}
