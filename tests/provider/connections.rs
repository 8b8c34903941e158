//! What can go wrong before a request is sent, and with the connection that it is sent over.

use std::time::Duration;

use tempfile::TempDir;
use testkit::{
    certificates::Certificates,
    reserved_port::ReservedPort,
    token_endpoint::{Behaviour, End, TokenEndpoint},
    waiting::found,
};
use token_broker::refresh::provider::{
    Answer, Authentication, ClientCertificate, PrepareError, Provider, ProviderOptions, Proxy,
    SecretSource, Why,
};
use tokio::net::TcpListener;

use crate::setup::{TIMEOUT, TOKEN, options, options_at, redeem, secret, server, tokens};

fn certificates() -> TempDir {
    let dir = TempDir::new().unwrap();
    Certificates::shared().write_to(dir.path());
    dir
}

/// Options for a server with TLS whose authority is in `dir`.
fn trusting(server: &TokenEndpoint, dir: &TempDir) -> ProviderOptions {
    let mut options = options_at(server);
    options.ca_file = Some(dir.path().join("ca.pem"));
    options
}

async fn unreachable(options: ProviderOptions) -> Why {
    match Provider::new(options).prepare().await {
        Err(PrepareError::Unreachable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_listens() {
    let port = ReservedPort::new();
    let mut options = options();
    let url = format!("http://{}/token", port.address());
    options.endpoints.token = Some(url.parse().unwrap());
    assert_eq!(unreachable(options).await, Why::ConnectionRefused);
}

#[tokio::test]
async fn a_name_without_address() {
    let mut options = options();
    options.endpoints.token = Some("https://idp.invalid/token".parse().unwrap());
    assert_eq!(unreachable(options).await, Why::NameNotFound);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long() {
    // It accepts, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options();
    let url = format!("https://{}/token", listener.local_addr().unwrap());
    options.endpoints.token = Some(url.parse().unwrap());
    options.ca_file = None;
    options.connect_timeout = TIMEOUT;
    assert_eq!(unreachable(options).await, Why::ConnectTimeout);
}

#[tokio::test]
async fn certificates_are_checked() {
    let dir = certificates();
    for (name, why) in [
        ("expired", Why::CertificateExpired),
        ("later", Why::CertificateExpired),
        ("stranger", Why::CertificateUntrusted),
        ("clients-only", Why::CertificateUntrusted),
    ] {
        let server = TokenEndpoint::start_with_tls(dir.path(), name, false).await;
        assert_eq!(unreachable(trusting(&server, &dir)).await, why, "{name}");
        assert!(server.received().is_empty());
    }
    let server = TokenEndpoint::start_with_tls(dir.path(), "server", false).await;
    let mut options = trusting(&server, &dir);
    let url = format!("https://127.0.0.2:{}{TOKEN}", server.address().port());
    options.endpoints.token = Some(url.parse().unwrap());
    // Nothing listens at that address on every system.
    let why = unreachable(options).await;
    assert!(
        matches!(why, Why::CertificateForAnotherName | Why::ConnectionRefused),
        "{why:?}"
    );
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let dir = certificates();
    let server = TokenEndpoint::start_with_tls(dir.path(), "server", false).await;
    server.behave(TOKEN, [tokens()]);
    let answer = redeem(trusting(&server, &dir)).await;
    assert!(matches!(answer, Answer::Tokens(_)), "{answer:?}");
    // The system's authorities don't vouch for it.
    assert_eq!(
        unreachable(options_at(&server)).await,
        Why::CertificateUntrusted
    );
}

#[tokio::test]
async fn breaking_off_over_tls_is_doubt() {
    let dir = certificates();
    let server = TokenEndpoint::start_with_tls(dir.path(), "server", false).await;
    for end in [End::Close, End::Reset] {
        server.behave(TOKEN, [Behaviour::raw("").end(end)]);
        let answer = redeem(trusting(&server, &dir)).await;
        assert!(
            matches!(
                answer,
                Answer::Unknown {
                    why: Why::ConnectionLost
                }
            ),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let dir = certificates();
    let server = TokenEndpoint::start_with_tls(dir.path(), "server", true).await;
    server.behave(TOKEN, [tokens()]);
    let with = |name: &str| {
        let mut options = trusting(&server, &dir);
        options.authentication = Authentication::TlsClientAuth(ClientCertificate {
            certificate: dir.path().join(format!("{name}.pem")),
            key: dir.path().join(format!("{name}.key")),
        });
        options
    };
    let answer = redeem(with("client")).await;
    assert!(matches!(answer, Answer::Tokens(_)), "{answer:?}");
    assert_eq!(server.received().len(), 1);
    // With TLS 1.3 the refusal comes when the request has left. The provider hasn't read it.
    let answer = redeem(with("stranger")).await;
    let why = Why::ClientCertificateRefused;
    assert!(
        matches!(&answer, Answer::OurFault { why: found, .. } if *found == why),
        "{answer:?}"
    );
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_connection_that_ended_before_the_request_was_sent() {
    let dir = certificates();
    for behaviour in [
        Behaviour::raw("").end(End::Close),
        Behaviour::raw("").end(End::Reset),
        Behaviour::raw("!").end(End::Hang),
    ] {
        let plain = TokenEndpoint::start().await;
        let tls = TokenEndpoint::start_with_tls(dir.path(), "server", false).await;
        for server in [plain, tls] {
            server.behave(TOKEN, [behaviour.clone().unread()]);
            let provider = Provider::new(trusting(&server, &dir));
            let mut prepared = provider.prepare().await.unwrap();
            // The end needs a moment to arrive. Sent earlier, the request may be lost, which is doubt.
            found("the end has arrived", || {
                (!prepared.is_usable()).then_some(())
            })
            .await;
            assert!(!prepared.is_usable(), "and that is remembered");
            let answer = prepared.send(&secret("the-refresh-token")).await;
            let why = Why::ConnectionClosed;
            let is_passing = matches!(&answer, Answer::Passing { why: found, .. } if *found == why);
            assert!(is_passing, "{behaviour:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn preparing_sends_no_request() {
    let server = server(tokens()).await;
    let mut prepared = Provider::new(options_at(&server)).prepare().await.unwrap();
    testkit::waiting::until("there is a connection", || async {
        server.connections() == 1
    })
    .await;
    assert!(prepared.is_usable());
    drop(prepared);
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_proxy_opens_the_connection() {
    let dir = certificates();
    let server = TokenEndpoint::start_with_tls(dir.path(), "server", false).await;
    server.behave(TOKEN, [tokens()]);
    let proxy = proxy("HTTP/1.1 200 Connection established\r\n\r\n").await;
    let mut options = trusting(&server, &dir);
    options.proxy = Some(proxy);
    let file = dir.path().join("proxy");
    std::fs::write(&file, "user:password\n").unwrap();
    options.proxy_credentials = Some(SecretSource::File(file));
    let answer = redeem(options).await;
    assert!(matches!(answer, Answer::Tokens(_)), "{answer:?}");
}

#[tokio::test]
async fn a_proxy_that_refuses() {
    let server = server(tokens()).await;
    for answer in [
        "HTTP/1.1 407 No\r\n\r\n",
        "garbage\r\n\r\n",
        "",
        "HTTP/1.1 200",
    ] {
        let mut options = options_at(&server);
        options.proxy = Some(proxy(answer).await);
        assert_eq!(unreachable(options).await, Why::ProxyFailed, "{answer}");
    }
}

/// A proxy for one connection that answers `answer` and then passes everything on, if it said yes.
async fn proxy(answer: &'static str) -> Proxy {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        client.write_all(answer.as_bytes()).await.unwrap();
        let head = String::from_utf8(head).unwrap();
        let to = head.split(' ').nth(1).unwrap();
        if answer.starts_with("HTTP/1.1 200 Connection") {
            assert!(
                head.contains("Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n"),
                "{head}"
            );
            let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut server)
                .await
                .ok();
        }
    });
    format!("http://{address}").parse().unwrap()
}

/// A process that stood still while the answer came finds its time over and the answer unread. The answer counts.
#[test]
fn an_answer_that_came_while_the_process_stood_still_counts() {
    /// Some find the answer before they see that their time is over.
    const MANY: usize = 16;
    /// So long that all requests are there before any answer comes.
    const TIME: Duration = Duration::from_secs(2);
    let elsewhere = tokio::runtime::Runtime::new().unwrap();
    let server = elsewhere.block_on(server(tokens().after(TIME * 3 / 4)));
    let here = tokio::runtime::Builder::new_current_thread();
    let here = { here }.enable_all().build().unwrap();
    let mut options = options_at(&server);
    options.timeout = TIME;
    let redeeming: Vec<_> = (0..MANY)
        .map(|_| here.spawn(redeem(options.clone())))
        .collect();
    here.block_on(async {
        found("the requests are there", || {
            (server.received().len() == MANY).then_some(())
        })
        .await;
    });
    std::thread::sleep(TIME * 2);
    for redeeming in redeeming {
        let answer = here.block_on(redeeming).unwrap();
        assert!(matches!(answer, Answer::Tokens(_)), "{answer:?}");
    }
}
