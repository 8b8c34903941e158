//! Versions and protocols: TLS 1.2 and 1.3, with HTTP/2, and nothing else.

use std::sync::Arc;

use testkit::{http2::BEGUN, waiting::until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::rustls::{
    HandshakeKind,
    version::{TLS12, TLS13},
};

use crate::broker::Broker;

/// The types of records (RFC 8446, section 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Returns a ClientHello of this version, which a server that speaks it answers.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let mut extensions = Vec::new();
    for (kind, body) in [
        (10_u16, &[0_u8, 4, 0, 0x1d, 0, 0x17][..]), // x25519, P-256
        (11, &[1, 0]),
        (13, &[0, 4, 4, 3, 8, 4]), // ECDSA and RSA with SHA-256
        (23, &[]),                 // extended master secret
    ] {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        extensions.extend(body);
    }
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    // Suites of TLS 1.2 and, at the end, of TLS 1.0 and 1.1.
    let suites = [0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 0, 0x2f];
    body.extend(u16::try_from(suites.len()).unwrap().to_be_bytes());
    body.extend(suites);
    body.extend([1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u16::try_from(body.len()).unwrap();
    let mut record = vec![HANDSHAKE, 3, 1];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

/// Returns the first record that the broker answers to a ClientHello of this version.
async fn answer(broker: &Broker, version: [u8; 2]) -> (u8, Vec<u8>) {
    let mut stream = TcpStream::connect(broker.process.address()).await.unwrap();
    stream.write_all(&client_hello(version)).await.unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).await.unwrap();
    (head[0], body)
}

/// Waits until the log says why handshakes failed, so often.
async fn told(broker: &Broker, why: &str, times: usize) {
    until(why, || async {
        let log = broker.process.log();
        let failed = log
            .lines()
            .filter(|line| line.contains("a TLS handshake failed"));
        failed.filter(|line| line.contains(why)).count() == times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_refused() {
    let broker = Broker::start(&["--log-level", "debug"]).await;
    for old in [[3, 0], [3, 1], [3, 2]] {
        let (kind, body) = answer(&broker, old).await;
        // A fatal alert: protocol_version.
        assert_eq!((kind, &body[..]), (ALERT, &[2, 70][..]), "{old:?}");
    }
    told(&broker, "speaks neither TLS 1.2 nor TLS 1.3", 3).await;
    // The same hello of TLS 1.2 is answered by a ServerHello.
    let (kind, body) = answer(&broker, [3, 3]).await;
    assert_eq!((kind, body[0]), (HANDSHAKE, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_spoken_with_http_2_alone() {
    let broker = Broker::start(&["--log-level", "debug"]).await;
    for version in [&TLS12, &TLS13] {
        let config = broker.config_of(&broker.good(), version, &[b"h2"]);
        let stream = broker.stream(Arc::new(config)).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        for protocols in [&[][..], &[&b"http/1.1"[..]]] {
            let config = broker.config_of(&broker.good(), version, protocols);
            let is_over = match broker.stream(Arc::new(config)).await {
                Err(_) => true,
                // Without a word about protocols, the handshake itself succeeds.
                Ok(mut stream) => matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)),
            };
            assert!(is_over, "{version:?} {protocols:?}");
        }
    }
    // Who speaks no TLS gets nothing.
    let mut plain = TcpStream::connect(broker.process.address()).await.unwrap();
    plain.write_all(BEGUN).await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(answer.is_empty() || answer[0] == ALERT, "{answer:?}");
    told(&broker, "doesn't offer HTTP/2 by ALPN (h2)", 4).await;
    told(&broker, "the client speaks no TLS", 1).await;
}

/// A session that is resumed wouldn't verify the client's certificate again.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed() {
    let broker = Broker::start(&[]).await;
    for version in [&TLS12, &TLS13] {
        let config = broker.config_of(&broker.good(), version, &[b"h2"]);
        let config = Arc::new(config);
        for _ in 0..3 {
            let mut stream = broker.stream(Arc::clone(&config)).await.unwrap();
            // The settings of HTTP/2 come after whatever TLS has to say.
            stream.read_exact(&mut [0; 9]).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            let is_full = matches!(
                kind,
                Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
            );
            assert!(is_full, "{version:?}: {kind:?}");
        }
    }
}
