//! Tests a cluster that tells its clients host names, as clusters behind NAT and with certificates for names do.

use std::time::Duration;

use testkit::{
    broker::request,
    broker_process::BrokerProcess,
    cluster::{self, Cluster, slot},
    launch::Program,
    redis_tenant::RedisTenant,
    rows::*,
    waiting::{found_within, until},
};

/// How long a failover may take. An election may have to be repeated.
const FAILOVER: Duration = Duration::from_secs(60);

/// The broker uses the names, and the names of the servers that take over.
#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_cluster_are_used_by_their_names() {
    let clusters = [Program::Usual, Program::Valkey].map(|program| {
        Cluster::start(&cluster::Options {
            program,
            node: vec![
                "cluster-announce-hostname localhost".to_owned(),
                "cluster-preferred-endpoint-type hostname".to_owned(),
            ],
            ..cluster::Options::default()
        })
    });
    let [usual, valkey] = clusters.each_ref().map(follows_names);
    tokio::join!(usual, valkey);
}

async fn follows_names(cluster: &Cluster) {
    cluster.settled().await;
    let url = cluster.url();
    let tenant = RedisTenant::on(cluster);
    let name = tenant.name().to_string();
    let process =
        BrokerProcess::start(&["--backend", "redis", "--redis-url", &url, "--tenant", &name]);
    process.serving().await;
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    let slot = slot(&tenant.prefix());
    let primary = cluster.owner_of(slot).unwrap();
    cluster.nodes[primary].kill();
    found_within(FAILOVER, "another node takes over", || {
        cluster.owner_of(slot).filter(|owner| *owner != primary)
    })
    .await;
    until("the broker follows", async || {
        let written = broker.store(request(&key("s", "p"), &row("u", "new")));
        written.await.is_ok()
    })
    .await;
    process.serving().await;
    let log = process.ended().await.log;
    let named = log.matches("is a primary").count();
    let by_name = log.matches("\"address\":\"localhost:").count();
    assert!(named >= 3 && by_name == named, "{log}");
}
