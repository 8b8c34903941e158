//! Tests a deployment with Sentinel whose links can be cut.

use std::time::{Duration, Instant};

use redis::IntoConnectionInfo;
use testkit::{
    launch::Program,
    redis_server::RedisServer,
    security::Security,
    sentinel::{Options, Sentinels},
    waiting::{found, until},
};

fn set(server: &RedisServer, value: &str) {
    server.ask::<()>(&["SET", "k", value]).unwrap();
}

fn get(server: &RedisServer) -> Option<String> {
    server.ask(&["GET", "k"]).unwrap()
}

async fn gets(server: &RedisServer, value: &str) {
    let what = format!("{value} is there");
    until(&what, async || get(server).as_deref() == Some(value)).await;
}

/// Connects to the primary through its link, as clients do.
fn along_the_link(deployment: &Sentinels, server: usize) -> redis::Connection {
    let port = deployment.link_port(server);
    let address = ("127.0.0.1", port).into_connection_info().unwrap();
    let direct = deployment.servers[server].client();
    let login = direct.get_connection_info().redis_settings().clone();
    let client = redis::Client::open(address.set_redis_settings(login)).unwrap();
    client.get_connection().unwrap()
}

async fn a_partition_loses_what_the_old_primary_took(options: Options, rounds: usize) {
    let deployment = Sentinels::start(&options);
    // A server that stood still for a moment may have been followed.
    let mut old = deployment.settled().await;
    for round in 0..rounds {
        let mut client = along_the_link(&deployment, old);
        set(&deployment.servers[old], "kept");
        for server in &deployment.servers {
            gets(server, "kept").await;
        }
        let begun = Instant::now();
        if round == 0 {
            deployment.cut(old);
        } else {
            deployment.isolate(old);
        }
        redis::cmd("SET")
            .arg("k")
            .arg("lost")
            .exec(&mut client)
            .unwrap();
        let replicated: u64 = redis::cmd("WAIT")
            .arg(1)
            .arg(50)
            .query(&mut client)
            .unwrap();
        assert_eq!(replicated, 0, "the link is cut");
        let new = match round {
            0 => deployment.failover().await,
            _ => deployment.successor_of(old).await,
        };
        assert_eq!(get(&deployment.servers[new]).as_deref(), Some("kept"));
        let port = deployment.link_port(new);
        found("a switch is told", || {
            deployment.switches.first_to(port, begun)
        })
        .await;
        if round == 1 {
            let read: String = redis::cmd("GET").arg("k").query(&mut client).unwrap();
            assert_eq!(read, "lost", "the old primary goes on serving");
        }
        deployment.heal(old);
        let now = deployment.settled().await;
        gets(&deployment.servers[old], "kept").await;
        old = now;
    }
}

#[tokio::test]
async fn a_partition_loses_writes() {
    a_partition_loses_what_the_old_primary_took(Options::default(), 2).await;
}

#[tokio::test]
async fn a_partition_loses_writes_of_valkey_with_users() {
    let options = Options {
        program: Program::Valkey,
        security: Security::ACL,
        ..Options::default()
    };
    a_partition_loses_what_the_old_primary_took(options, 2).await;
}

/// The periods of its sentinels can't be shortened.
#[tokio::test]
async fn a_partition_loses_writes_of_the_oldest_redis() {
    let options = Options {
        program: Program::Oldest,
        security: Security::ACL,
        down_after: Duration::from_secs(3),
        ..Options::default()
    };
    a_partition_loses_what_the_old_primary_took(options, 1).await;
}

#[tokio::test]
async fn a_failover_over_tls() {
    let options = Options {
        security: Security::ALL,
        ..Options::default()
    };
    let deployment = Sentinels::start(&options);
    deployment.settled().await;
    deployment.failover().await;
    deployment.settled().await;
}

#[tokio::test]
async fn a_killed_primary_comes_back_as_a_replica() {
    let deployment = Sentinels::start(&Options::default());
    let old = deployment.settled().await;
    set(&deployment.servers[old], "kept");
    for server in &deployment.servers {
        gets(server, "kept").await;
    }
    deployment.servers[old].kill();
    deployment.successor_of(old).await;
    deployment.servers[old].restart();
    let new = deployment.settled().await;
    gets(&deployment.servers[old], "kept").await;

    deployment.servers[new].pause();
    deployment.successor_of(new).await;
    deployment.servers[new].resume();
    deployment.settled().await;
}
