//! Tests a cluster whose slots move and whose primaries are killed.

use std::time::Duration;

use testkit::{
    cluster::{Cluster, Options, slot},
    deployment::Deployment,
    launch::Program,
    security::Security,
    waiting::found,
};

/// A machine under load may hold a node up for a second.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

async fn slots_move_and_primaries_fail(options: &Options) {
    let cluster = Cluster::start(options);
    cluster.settled().await;
    let (key, eyes) = ("thv:auth:{t-moves:conf}:k", cluster.eyes());
    let slot = slot(key);
    let from = cluster.owner_of(slot).unwrap();
    let to = (from + 1) % 3;
    let name = |i: usize| format!("{key}{i}");
    for i in 0..50 {
        redis::cmd("SET")
            .arg(name(i))
            .arg(i)
            .exec(&mut eyes(key))
            .unwrap();
    }

    let moving = cluster.begin_move(slot, from, to);
    assert_eq!(cluster.move_keys(moving, 20), 20);
    let asked = (0..50).filter(|&i| {
        let got = redis::cmd("GET").arg(name(i)).exec(&mut eyes(key));
        got.is_err_and(|error| error.code() == Some("ASK"))
    });
    assert_eq!(asked.count(), 20, "a slot half moved");
    cluster.call_off_move(moving);
    assert_eq!(cluster.owner_of(slot), Some(from));
    cluster.move_slot(slot, from, to);
    found("the slot has moved", || {
        cluster.owner_of(slot).filter(|&owner| owner == to)
    })
    .await;
    for i in 0..50 {
        let got: usize = redis::cmd("GET")
            .arg(name(i))
            .query(&mut eyes(key))
            .unwrap();
        assert_eq!(got, i);
    }

    cluster.nodes[to].kill();
    let new = found("the replica takes over", || {
        cluster.owner_of(slot).filter(|&owner| owner != to)
    })
    .await;
    assert_eq!(new, to + 3);
    cluster.nodes[to].restart();
    cluster.settled().await;
}

#[tokio::test]
async fn a_cluster_is_one() {
    slots_move_and_primaries_fail(&Options {
        node_timeout: NODE_TIMEOUT,
        ..Options::default()
    })
    .await;
}

#[tokio::test]
async fn a_cluster_with_users_and_tls() {
    let security = Security::ALL;
    slots_move_and_primaries_fail(&Options {
        security,
        node_timeout: NODE_TIMEOUT,
        ..Options::default()
    })
    .await;
}

#[tokio::test]
async fn a_cluster_of_the_oldest_redis() {
    let (program, security) = (Program::Oldest, Security::ACL);
    slots_move_and_primaries_fail(&Options {
        program,
        security,
        node_timeout: NODE_TIMEOUT,
        ..Options::default()
    })
    .await;
}

#[tokio::test]
async fn a_cluster_of_valkey() {
    let (program, security) = (Program::Valkey, Security::ACL);
    slots_move_and_primaries_fail(&Options {
        program,
        security,
        node_timeout: NODE_TIMEOUT,
        ..Options::default()
    })
    .await;
}
