//! Tests a broker whose connections are all taken: those without calls make room for new ones. `doors.rs` has strangers who
//! won't.

use std::time::Duration;

use testkit::{
    broker_process::{BrokerProcess, program},
    waiting::until,
};
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tonic::{Code, transport::Channel};

use crate::{
    raw::{DATA, END_STREAM, GOAWAY, Raw, broker_path, in_grpc},
    standstill,
    target::{SMALL, get},
};

/// What the log says when there is no place for a connection.
const FULL: &str = "max-connections is reached";
/// Longer than a connection has to be without calls before it is asked to go, and the time that it then has.
const LONG_IDLE: Duration = Duration::from_millis(1_800);

/// How long a client waits, which the idle timeout is longer than.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a broker with so many places for connections, none of which is taken.
async fn broker(places: usize) -> BrokerProcess {
    tokio::spawn(standstill::watch());
    let places = places.to_string();
    let args = ["--backend", "memory", "--max-connections", &places];
    let broker = BrokerProcess::start(&[&args[..], &["--call-timeout", "15s"]].concat());
    broker.serving().await;
    broker
}

/// Asks for `liveness` as a probe of Kubernetes does, over a connection of its own. Returns whether it is SERVING.
fn probe(broker: &BrokerProcess) -> JoinHandle<bool> {
    let address = broker.address().to_string();
    spawn_blocking(move || {
        let mut health = program();
        health.args(["health", "--service", "liveness", "--timeout", "10s"]);
        health
            .args(["--addr", &address])
            .status()
            .unwrap()
            .success()
    })
}

/// Makes a call, which must be answered.
async fn calls(client: &mut TokenBrokerClient<Channel>) {
    let mut called = async || {
        let answer = timeout(PATIENCE, client.get(get(SMALL, "p"))).await;
        answer.expect("the call is answered in time").unwrap_err()
    };
    let mut status = called().await;
    // A client that stood still didn't go when it was asked to, and finds its connection closed.
    if status.code() != Code::NotFound && standstill::was_lately().await {
        status = called().await;
    }
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}

/// Clients that keep connections open without calling don't keep a probe out, and notice nothing. The log says once
/// that all places are taken.
#[tokio::test]
async fn idle_connections_make_room() {
    // On one thread, so that a client that stands still is noticed.
    let broker = broker(8).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = broker.client().await;
        calls(&mut client).await;
        clients.push(client);
    }
    for _ in 0..2 {
        assert!(probe(&broker).await.unwrap(), "{}", broker.log());
        for client in &mut clients {
            calls(client).await;
        }
    }
    let log = broker.ended().await.log;
    assert_eq!(log.matches(FULL).count(), 1, "{log}");
}

/// Connections with calls of callers keep their places, however long a new client waits. Its turn comes when one of
/// them is done.
#[tokio::test(flavor = "multi_thread")]
async fn connections_with_calls_are_left_alone() {
    let broker = broker(4).await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::connect(broker.address(), &[]).await.unwrap().reading();
        let stream = raw.open(&broker_path("Get")).await.unwrap();
        busy.push((raw, stream));
    }
    let waiting = probe(&broker);
    broker.tells(FULL).await;
    sleep(LONG_IDLE).await;
    for (raw, _) in &busy {
        assert_eq!((raw.count(GOAWAY), raw.is_closed()), (0, false));
    }
    assert!(!waiting.is_finished());
    let (mut done, stream) = busy.pop().unwrap();
    let message = in_grpc(&get(SMALL, "p"));
    done.frame(DATA, END_STREAM, stream, &message)
        .await
        .unwrap();
    until("the call is answered", || async { done.ended() == 1 }).await;
    assert!(waiting.await.unwrap(), "{}", broker.log());
    for (raw, _) in &busy {
        assert_eq!((raw.count(GOAWAY), raw.is_closed()), (0, false));
    }
    let log = broker.ended().await.log;
    assert_eq!(log.matches(FULL).count(), 1, "{log}");
}

/// Clients that say nothing, don't read, or don't go when they are asked to, are closed after a moment.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_go_is_closed() {
    let broker = broker(3).await;
    let address = broker.address();
    let silent = TcpStream::connect(address).await.unwrap();
    let deaf = Raw::connect(address, &[]).await.unwrap();
    let stubborn = Raw::connect(address, &[]).await.unwrap().reading();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = broker.client().await;
        calls(&mut client).await;
        clients.push(client);
    }
    until("it is closed", || async { stubborn.is_closed() }).await;
    assert!(stubborn.count(GOAWAY) > 0);
    drop((silent, deaf));
}

/// Clients that only open connections make room for each other, and not a client that calls now and then.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_calls_takes_no_place_of_who_does() {
    let broker = broker(4).await;
    let mut raw = Raw::connect(broker.address(), &[]).await.unwrap().reading();
    raw.call("Get", &get(SMALL, "p")).await.unwrap();
    until("the call is answered", || async { raw.ended() == 1 }).await;
    let mut silent = Vec::new();
    for _ in 0..9 {
        silent.push(TcpStream::connect(broker.address()).await.unwrap());
    }
    assert!(probe(&broker).await.unwrap(), "{}", broker.log());
    assert_eq!((raw.count(GOAWAY), raw.is_closed()), (0, false));
}

/// A call that crosses the broker's wish is answered, also if it takes longer than those have who don't go.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_as_its_connection_is_asked_to_go_is_answered() {
    let broker = broker(1).await;
    let (mut raw, stream, waiting) = 'crossed: {
        for _ in 0..3 {
            let mut raw = Raw::connect(broker.address(), &[]).await.unwrap().reading();
            let waiting = probe(&broker);
            until("it is asked to go", || async { raw.count(GOAWAY) > 0 }).await;
            let opened = raw.open(&broker_path("Get")).await;
            sleep(LONG_IDLE).await;
            match opened {
                Ok(stream) if !raw.is_closed() => break 'crossed (raw, stream, waiting),
                // A client that stood still called too late.
                _ if standstill::was_lately().await => assert!(waiting.await.unwrap()),
                _ => break,
            }
        }
        panic!("the connection is closed although a call has come");
    };
    let message = in_grpc(&get(SMALL, "p"));
    raw.frame(DATA, END_STREAM, stream, &message).await.unwrap();
    until("the call is answered", || async { raw.ended() == 1 }).await;
    assert!(waiting.await.unwrap(), "{}", broker.log());
    until("it is closed", || async { raw.is_closed() }).await;
}

/// More clients than places, each of which calls now and then and stays: they take turns, and no call fails.
#[tokio::test]
async fn more_clients_than_places_take_turns() {
    // On one thread, so that a client that stands still is noticed.
    let broker = broker(4).await;
    let mut calling = Vec::new();
    for number in 0..6 {
        let mut client = broker.client().await;
        calling.push(tokio::spawn(async move {
            for _ in 0..3 {
                calls(&mut client).await;
                sleep(Duration::from_millis(900 + 40 * number)).await;
            }
            client
        }));
    }
    let mut stay = Vec::new();
    for caller in calling {
        stay.push(caller.await.unwrap());
    }
}

/// Who is asked to go, doesn't answer that, and begins one call after the other has the time of one call, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_calling_keeps_no_place() {
    let args = ["--backend", "memory", "--max-connections", "1"];
    let broker = BrokerProcess::start(&[&args[..], &["--call-timeout", "2s"]].concat());
    broker.serving().await;
    let mut raw = Raw::connect(broker.address(), &[]).await.unwrap().reading();
    // It waits for less time than a connection that was told to go away may take otherwise.
    let waiting = probe(&broker);
    until("it is asked to go", || async { raw.count(GOAWAY) > 0 }).await;
    while !raw.is_closed() {
        // It fails once the connection is closed.
        let called = raw.call("Get", &get(SMALL, "p")).await;
        if called.is_err() {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(waiting.await.unwrap(), "{}", broker.log());
}
