//! Clients that don't finish their handshake.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use testkit::waiting::until;

use crate::broker::Broker;

/// Returns how many handshakes failed for a reason, if that is one.
fn failed(broker: &Broker, why: &str) -> Option<u64> {
    let name = format!("token_broker_handshakes_failed_total{{reason=\"{why}\"}} ");
    broker.process.metric(&name)
}

/// They take up all places, and make room for a client that does, although they would have minutes. None of them can hold
/// up the end of the broker either.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_the_handshake_makes_room() {
    let broker = Broker::start(&[
        "--max-connections",
        "8",
        "--call-timeout",
        "5m",
        "--idle-timeout",
        "10m",
        "--shutdown-grace",
        "5m",
        "--metrics-listen",
        "127.0.0.1:0",
    ])
    .await;
    let mut stalled = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(broker.process.address()).await.unwrap();
        // The head of a record, or nothing at all.
        let begun = [0x16, 3, 1, 2, 0];
        stream.write_all(&begun[..number % 6]).await.unwrap();
        stalled.push(stream);
    }
    let good = broker.good();
    let served = timeout(Duration::from_secs(50), broker.serves(Some(&good))).await;
    served.expect("there is room").unwrap();
    assert!(failed(&broker, "made_room").unwrap() > 0);
    let ended = tokio::task::spawn_blocking(|| broker.process.terminate());
    let ended = timeout(Duration::from_secs(50), ended).await;
    assert!(ended.expect("it ends").unwrap().success());
    for mut stream in stalled {
        stream.read_to_end(&mut Vec::new()).await.ok();
    }
}

/// A client that isn't done with its handshake in time is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_its_time() {
    let broker = Broker::start(&["--call-timeout", "3s"]).await;
    let mut stream = TcpStream::connect(broker.process.address()).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
    let mut answer = Vec::new();
    let closed = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    closed.await.expect("it is closed").ok();
}

/// Each handshake that failed is counted, by what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_are_counted_by_their_reasons() {
    let args = ["--call-timeout", "4s", "--max-connections", "2"];
    let broker = Broker::start(&[&args[..], &["--metrics-listen", "127.0.0.1:0"]].concat()).await;
    let address = broker.process.address();
    let counted = async |why: &str| {
        until(why, || async { failed(&broker, why).unwrap() > 0 }).await;
    };
    let begin = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    };
    assert_eq!(failed(&broker, "certificate"), Some(0));
    let slow = begin(&[0x16, 3, 1]).await;
    counted("too_slow").await;
    drop(slow);
    drop(begin(&[0x16, 3, 1]).await);
    counted("cut_off").await;
    let talks = begin(b"GET / HTTP/1.1\r\n\r\n").await;
    counted("protocol").await;
    drop(talks);
    broker.serves(None).await.unwrap_err();
    counted("certificate").await;
    assert_eq!(failed(&broker, "other"), None);
}
