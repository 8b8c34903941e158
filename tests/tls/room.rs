//! Clients that don't finish their handshake.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::broker::Broker;

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
    let served = timeout(Duration::from_secs(15), broker.serves(Some(&good))).await;
    served.expect("there is room").unwrap();
    let ended = tokio::task::spawn_blocking(|| broker.process.terminate());
    let ended = timeout(Duration::from_secs(8), ended).await;
    assert!(ended.expect("it ends").unwrap().success());
    for mut stream in stalled {
        stream.read_to_end(&mut Vec::new()).await.ok();
    }
}

/// A client that isn't done with its handshake in time is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_its_time() {
    let broker = Broker::start(&["--call-timeout", "1s"]).await;
    let mut stream = TcpStream::connect(broker.process.address()).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
    let mut answer = Vec::new();
    let closed = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    closed.await.expect("it is closed").ok();
}
