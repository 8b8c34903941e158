//! Tests how connections end: old ones, and those of clients who are silent when the broker stops.

use std::time::{Duration, Instant};

use testkit::{broker_process::BrokerProcess, waiting::until};
use tokio::{net::TcpStream, task::spawn_blocking};

use crate::{
    raw::{DATA, END_STREAM, GOAWAY, INITIAL_WINDOW_SIZE, Raw},
    target::{SMALL, get},
};

/// How long an exit may take that waits for no call. One that waits for a call takes the grace.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Calls keep an exit waiting, and connections without calls don't: silent ones, and those on which only a
/// stream is open whose client reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_do_not_delay_the_exit() {
    let broker = BrokerProcess::start(&["--backend", "memory", "--shutdown-grace", "30s"]);
    broker.serving().await;
    let address = broker.address();
    let silent = TcpStream::connect(address).await.unwrap();
    let begun = Raw::connect(address, &[]).await.unwrap();
    let mut watching = Raw::connect(address, &[(INITIAL_WINDOW_SIZE, 0)])
        .await
        .unwrap();
    let stream = watching.open("/grpc.health.v1.Health/Watch").await.unwrap();
    watching
        .frame(DATA, END_STREAM, stream, &[0; 5])
        .await
        .unwrap();
    // The client of a call that was answered is silent too.
    let mut answered = Raw::connect(address, &[]).await.unwrap().reading();
    answered.call("Get", &get(SMALL, "p")).await.unwrap();
    until("the call is answered", || async { answered.ended() == 1 }).await;
    let exit = spawn_blocking(move || {
        let told = Instant::now();
        (broker.terminate(), told.elapsed())
    });
    let (exit, took) = exit.await.unwrap();
    assert!(exit.success(), "{exit:?}");
    assert!(took < AT_ONCE, "{took:?}");
    drop((silent, begun, watching));
}

/// A connection that is old enough is asked to go away, within a tenth of `max-connection-age`. The calls on it
/// are finished, and what lasts is cut off when the grace is over.
#[tokio::test(flavor = "multi_thread")]
async fn old_connections_are_asked_to_go_away() {
    let broker = BrokerProcess::start(&[
        "--backend",
        "memory",
        "--max-connection-age",
        "1s",
        "--max-connection-age-grace",
        "4s",
    ]);
    broker.serving().await;
    let opened = Instant::now();
    let mut raw = Raw::connect(broker.address(), &[]).await.unwrap().reading();
    let stream = raw.open("/grpc.health.v1.Health/Watch").await.unwrap();
    raw.frame(DATA, END_STREAM, stream, &[0; 5]).await.unwrap();
    until("it is asked to go", || async { raw.count(GOAWAY) > 0 }).await;
    assert!(opened.elapsed() >= Duration::from_millis(890));
    // The broker would take this client's pong for leave to finish, and it sends none.
    raw.call("Get", &get(SMALL, "p")).await.unwrap();
    until("the call is answered", || async { raw.ended() == 1 }).await;
    assert!(!raw.is_closed());
    until("the watch is cut off", || async { raw.is_closed() }).await;
    assert!(opened.elapsed() >= Duration::from_millis(4_890));
}
