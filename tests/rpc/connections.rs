//! Tests that the broker still serves good clients, whatever bad clients do to its port.

use std::time::Duration;

use testkit::{
    http2::{BEGUN, PREFACE},
    waiting::until,
};
use token_broker::config::ServerOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    metrics::{value, values},
    serving::{Client, Serving, get, options, store},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Checks that a new client is served, and so is a client that was connected before.
async fn serves(serving: &Serving, before: &mut Client) {
    let mut new = serving.client().await;
    new.store(store("s", "p")).await.unwrap();
    before.get(get("s", "p")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port() {
    let serving = Serving::memory().await;
    let mut before = serving.client().await;
    let noise: Vec<u8> = (0..50_000).map(|_| rand::random()).collect();
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        vec![0; 100_000],
        noise.clone(),
        [PREFACE, &noise].concat(),
        [BEGUN, &noise].concat(),
        // A frame of 16 MiB, and a frame on a stream that isn't open.
        [BEGUN, b"\xff\xff\xff\0\0\0\0\0\x01"].concat(),
        [BEGUN, b"\0\0\x01\0\x01\0\0\0\x07x"].concat(),
        [BEGUN, b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff"].concat(),
    ] {
        let mut stream = TcpStream::connect(serving.address()).await.unwrap();
        // The broker may close the connection in the middle of it.
        stream.write_all(&garbage).await.ok();
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(
            ended.is_ok(),
            "the broker keeps a connection that makes no sense"
        );
        serves(&serving, &mut before).await;
    }
}

/// The connections begin a handshake or a frame and don't finish it.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections() {
    let serving = Serving::memory().await;
    let mut before = serving.client().await;
    let mut open = Vec::new();
    for number in 0..60 {
        let mut stream = TcpStream::connect(serving.address()).await.unwrap();
        let begun = [BEGUN, b"\0\x01\0\x01\x04\0\0\0\x01"].concat();
        stream
            .write_all(&begun[..number % begun.len()])
            .await
            .unwrap();
        open.push(stream);
    }
    serves(&serving, &mut before).await;
    drop(open);
    serves(&serving, &mut before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_idle_connections() {
    let serving = Serving::memory().await;
    let mut before = serving.client().await;
    let mut idle = Vec::new();
    for number in 0..200 {
        idle.push(TcpStream::connect(serving.address()).await.unwrap());
        if number % 50 == 0 {
            serves(&serving, &mut before).await;
        }
    }
    serves(&serving, &mut before).await;
}

/// Silent connections take up all places. They are closed once the idle timeout is over, and then
/// the next client is served.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed() {
    let options = ServerOptions {
        max_connections: 20,
        // The good client has to answer pings as well.
        keepalive_interval: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        ..options()
    };
    let serving = Serving::memory_with(options).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(serving.address()).await.unwrap());
    }
    let mut client = timeout(PATIENCE, serving.client())
        .await
        .expect("a place becomes free");
    client.store(store("s", "p")).await.unwrap();
    for mut stream in silent {
        let mut byte = [0; 64];
        let closed = async { while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {} };
        timeout(PATIENCE, closed)
            .await
            .expect("a silent connection is closed");
    }
}

/// A connected client that sends no calls isn't silent, because it answers pings.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_client_stays_connected() {
    let options = ServerOptions {
        keepalive_interval: Duration::from_millis(500),
        idle_timeout: Duration::from_secs(1),
        ..options()
    };
    let serving = Serving::memory_with(options).await;
    let mut quiet = serving.client().await;
    quiet.store(store("s", "p")).await.unwrap();
    // A connection that is really silent shows when three idle timeouts are over.
    for _ in 0..3 {
        let mut clock = TcpStream::connect(serving.address()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(PATIENCE, clock.read_to_end(&mut bytes))
            .await
            .unwrap()
            .ok();
    }
    quiet
        .get(get("s", "p"))
        .await
        .expect("the connection is still there");
}

/// Calls that are cancelled halfway free their places.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_free_their_places() {
    let serving = Serving::memory_with(ServerOptions {
        max_calls: 8,
        ..options()
    })
    .await;
    let client = serving.client().await;
    for _ in 0..200 {
        let mut hasty = client.clone();
        let call = tokio::spawn(async move { hasty.store(store("s", "p")).await });
        tokio::task::yield_now().await;
        call.abort();
    }
    let serving = &serving;
    until("all places are free", || {
        // One connection may have half of the calls.
        let clients: Vec<_> = (0..4).map(|_| client.clone()).collect();
        async move {
            let calls = clients
                .into_iter()
                .map(|mut client| async move { client.get(get("s", "x")).await });
            let answers = futures_util::future::join_all(calls).await;
            let in_flight = value(&values(serving), "token_broker_calls_in_flight", &[]);
            in_flight == 0.0
                && answers.iter().all(|answer| {
                    answer
                        .as_ref()
                        .is_err_and(|s| s.code() == tonic::Code::NotFound)
                })
        }
    })
    .await;
}
