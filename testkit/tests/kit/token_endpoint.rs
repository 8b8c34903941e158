//! Tests the provider that does what a test says.

use std::time::Duration;

use testkit::token_endpoint::{Behaviour, End, TokenEndpoint};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

const REQUEST: &str = "POST /token?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na=1&b=%20";

/// Sends `request` and returns what comes until the connection ends, or the error.
async fn talk(server: &TokenEndpoint, request: &str) -> Result<String, std::io::ErrorKind> {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let kind = |error: std::io::Error| error.kind();
    stream.write_all(request.as_bytes()).await.map_err(kind)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(kind)?;
    Ok(answer)
}

#[tokio::test]
async fn it_answers_one_behaviour_after_the_other_and_notes_the_requests() {
    let server = TokenEndpoint::start().await;
    let answers = [Behaviour::json(400, "{}"), Behaviour::raw("last")];
    server.behave("/token?a=b", answers);
    let first = talk(&server, REQUEST).await.unwrap();
    let expected =
        "HTTP/1.1 400 Status\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";
    assert_eq!(first, expected);
    for _ in 0..2 {
        assert_eq!(talk(&server, REQUEST).await.unwrap(), "last");
    }
    let received = server.received_at("/token?a=b");
    assert_eq!((received.len(), server.connections()), (3, 3));
    assert_eq!(received[0].header("host"), Some("a"));
    assert_eq!(received[0].parameter("b"), Some("%20"));
    assert_eq!(received[0].parameter("c"), None);
}

#[tokio::test]
async fn what_it_was_not_told_of_is_not_found() {
    let server = TokenEndpoint::start().await;
    let answer = talk(&server, "GET /else HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(server.received_at("/else").len(), 1);
}

#[tokio::test]
async fn a_request_that_is_cut_off_is_none() {
    let server = TokenEndpoint::start().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let part = &REQUEST[..REQUEST.len() - 1];
    stream.write_all(part.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() && server.received().is_empty());
}

#[tokio::test]
async fn each_end_is_what_it_says() {
    let server = TokenEndpoint::start().await;
    server.behave("/token?a=b", [Behaviour::raw("x").end(End::Close)]);
    assert_eq!(talk(&server, REQUEST).await.unwrap(), "x");
    server.behave("/token?a=b", [Behaviour::raw("").end(End::Reset)]);
    let reset = talk(&server, REQUEST).await.unwrap_err();
    assert_eq!(reset, std::io::ErrorKind::ConnectionReset);
    server.behave("/token?a=b", [Behaviour::raw("x").end(End::Hang)]);
    let hangs = timeout(Duration::from_millis(100), talk(&server, REQUEST)).await;
    hangs.unwrap_err();
    let slow = Behaviour::raw("x").after(Duration::from_millis(50));
    server.behave("/token?a=b", [slow]);
    let begun = Instant::now();
    assert_eq!(talk(&server, REQUEST).await.unwrap(), "x");
    assert!(begun.elapsed() >= Duration::from_millis(50));
    // Without reading anything.
    server.behave("/token?a=b", [Behaviour::raw("early").unread()]);
    assert_eq!(talk(&server, "").await.unwrap(), "early");
}
