//! Tests a broker with few file descriptors.

use std::time::Duration;

use testkit::{broker_process::BrokerProcess, redis_server::RedisServer, waiting::until};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::target::{SMALL, get, store};

/// The start says that fewer connections fit than are wanted. However many clients connect, the broker finds a
/// descriptor for Redis, and the log isn't full of it.
#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_use_up_the_descriptors() {
    let redis = RedisServer::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    let args = ["--backend", "redis", "--redis-url", &url];
    // Clients that say nothing would be closed after this time, and their descriptors would be free again.
    let patient = ["--call-timeout", "2m", "--idle-timeout", "2m"];
    let args = [&args[..], &patient].concat();
    let broker = BrokerProcess::start_with_descriptors(100, &args);
    broker.serving().await;
    broker.tells("only 50 of 4096 connections fit").await;
    let mut client = broker.client().await;
    client.store(store(SMALL, "p1", 10)).await.unwrap();

    let mut others = Vec::new();
    for _ in 0..200 {
        let connecting = timeout(Duration::from_secs(5), TcpStream::connect(broker.address()));
        if let Ok(Ok(stream)) = connecting.await {
            others.push(stream);
        }
    }
    broker.tells("max-connections is reached").await;
    redis.kill();
    // The clients that still wait would take what the connections to Redis gave back.
    sleep(Duration::from_millis(300)).await;
    redis.restart();
    until("the broker is connected to Redis again", || {
        let mut client = client.clone();
        async move {
            client.store(store(SMALL, "p1", 10)).await.is_ok()
                && client.get(get(SMALL, "p1")).await.is_ok()
        }
    })
    .await;
    drop(others);
    let log = broker.ended().await.log;
    assert!(log.matches("can't accept").count() <= 1, "{log}");
}
