//! Tests how much memory a broker has when nothing happens.

use testkit::broker_process::BrokerProcess;

use crate::{
    memory,
    target::{SMALL, get},
};

/// In KiB. In an optimised build it is less than half.
const IDLE: usize = 6 * 1024;
/// In KiB, for a connection that has had a call.
const CONNECTION: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_broker_and_idle_connections_need_little_memory() {
    let broker = BrokerProcess::start(&["--backend", "memory"]);
    broker.serving().await;
    assert!(!memory::may_have_large_pages(broker.pid()));
    let idle = memory::own(broker.pid());
    assert!(idle < IDLE, "{idle} KiB");

    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = broker.client().await;
        client.get(get(SMALL, "p")).await.unwrap_err();
        clients.push(client);
    }
    let more = memory::own(broker.pid()) - idle;
    assert!(more < clients.len() * CONNECTION, "{more} KiB");
}
