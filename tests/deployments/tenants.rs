//! Tests that many tenants of one process share its Redis: the connections, and the knowledge of
//! the primaries.

use std::{collections::BTreeMap, time::Duration};

use testkit::{
    broker::{Broker, rules},
    cluster::{self, Cluster, slot},
    deployment::Deployment,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    sentinel::{self, Sentinels},
    waiting::{found_within, until},
};
use token_broker::store::redis::RedisStore;
use tokio::task::JoinSet;

use crate::rights::CALM;

/// The number of tenants of the process.
const TENANTS: usize = 200;
/// The number of connections from the process to each server that holds tenants: `redis-connections` for reads, as
/// many for writes, and half as many each for large reads and for scripts that read.
const CONNECTIONS: usize = 2 + 2 + 1 + 1;

/// The tenants of one process.
struct Process(Vec<(RedisTenant, Broker<RedisStore>)>);

impl Process {
    fn start(deployment: &impl Deployment, tenants: usize) -> Self {
        let first = RedisTenant::on(deployment);
        let redis = first.redis();
        let tenants = (0..tenants).map(|_| {
            let tenant = first.another();
            let name = tenant.name().clone();
            let broker = Broker::new(redis.tenant(&name), rules(name));
            (tenant, broker)
        });
        Self(tenants.collect())
    }

    /// All tenants concurrently read what they stored last, which must be `before`, and store
    /// something else.
    async fn serve(&self, before: Option<&'static str>, now: &'static str) {
        let mut calls = JoinSet::new();
        for (_, broker) in &self.0 {
            let broker = broker.clone();
            calls.spawn(async move {
                let (key, user) = (key("s", "p"), user("u"));
                let found = broker.read(&key).await;
                let found = found.as_ref().map(|stored| access_token(&stored.row));
                assert_eq!(found, before);
                broker.put(&key, &row("u", now)).await;
                assert_eq!(broker.rows_of(&key.session).await.len(), 1);
                assert_eq!(broker.listed(&user).await.len(), 1);
            });
        }
        while let Some(called) = calls.join_next().await {
            called.unwrap();
        }
    }

    /// Checks that each tenant's data is complete and separate from other tenants' data.
    fn audit(&self) {
        for (tenant, _) in &self.0 {
            tenant.audit();
            assert_eq!(tenant.snapshot().0.len(), 3, "a row and two indexes");
        }
    }
}

/// Returns how many of the server's connections are from brokers, without those of sentinels and of
/// this test.
fn connections(server: &RedisServer) -> usize {
    let list: String = server
        .ask(&["CLIENT", "LIST", "TYPE", "normal"])
        .unwrap_or_default();
    list.lines()
        .filter(|line| !line.contains("name=sentinel") && !line.contains("cmd=client"))
        .count()
}

/// Waits until the servers have these numbers of broker connections, in the order of the servers.
async fn have_connections(servers: &[RedisServer], expected: &[usize]) {
    let what = format!("there are {expected:?} connections");
    until(&what, async || {
        let found: Vec<_> = servers.iter().map(connections).collect();
        if found != expected {
            eprintln!("connections: {found:?}");
        }
        found == expected
    })
    .await;
}

/// Waits until the server's replicas have all that it has now: these tests aren't about what a failover loses.
async fn is_replicated(server: &RedisServer) {
    let info = || server.ask::<String>(&["INFO", "replication"]).unwrap();
    let number = |text: &str, name: &str| {
        let (_, rest) = text.split_once(name)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    };
    let written = number(&info(), "master_repl_offset:").unwrap();
    until("the replicas have what was stored", async || {
        let info = info();
        let replicas = info.lines().filter(|line| line.starts_with("slave"));
        let offsets: Vec<_> = replicas.map(|line| number(line, "offset=")).collect();
        let has_all = |offset: &Option<u64>| offset.is_some_and(|offset| offset >= written);
        // A replica whose connection is made anew isn't there for the moment.
        !offsets.is_empty() && offsets.iter().all(has_all)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tenants_of_one_server_share_what_one_has() {
    let server = [RedisServer::start()];
    let one = Process::start(&server[0], 1);
    one.serve(None, "first").await;
    have_connections(&server, &[CONNECTIONS]).await;
    drop(one);
    have_connections(&server, &[0]).await;

    let process = Process::start(&server[0], TENANTS);
    process.serve(None, "first").await;
    have_connections(&server, &[CONNECTIONS]).await;
    server[0].kill();
    server[0].restart();
    process.serve(None, "second").await;
    have_connections(&server, &[CONNECTIONS]).await;
    process.audit();
}

/// Two processes have twice as many connections, which shows that the count works.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_has_connections_of_its_own() {
    let server = [RedisServer::start()];
    let processes = [0, 1].map(|_| Process::start(&server[0], 3));
    for process in &processes {
        process.serve(None, "first").await;
    }
    have_connections(&server, &[2 * CONNECTIONS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tenants_follow_the_sentinels_together() {
    let deployment = Sentinels::start(&sentinel::Options {
        down_after: CALM,
        ..sentinel::Options::default()
    });
    let old = deployment.settled().await;
    let process = Process::start(&deployment, TENANTS);
    process.serve(None, "first").await;
    let mut expected = [0; 3];
    expected[old] = CONNECTIONS;
    have_connections(&deployment.servers, &expected).await;

    is_replicated(&deployment.servers[old]).await;
    let new = deployment.failover().await;
    process.serve(Some("first"), "second").await;
    let mut expected = [0; 3];
    expected[new] = CONNECTIONS;
    have_connections(&deployment.servers, &expected).await;
    process.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tenants_of_a_cluster_share_a_few_connections_a_node() {
    let cluster = Cluster::start(&cluster::Options::default());
    cluster.settled().await;
    let process = Process::start(&cluster, TENANTS);
    process.serve(None, "first").await;
    let holders = holders(&process, &cluster);
    assert_eq!(holders.len(), 3, "each primary holds tenants: {holders:?}");
    let mut expected = [0; 6];
    expected[..3].fill(CONNECTIONS);
    have_connections(&cluster.nodes, &expected).await;

    // One primary is killed. Its tenants move together, and the tenants of other primaries stay
    // where they are.
    for primary in 0..3 {
        is_replicated(&cluster.nodes[primary]).await;
    }
    cluster.nodes[0].kill();
    found_within(Duration::from_secs(60), "a replica took over", || {
        holders_of(&process, &cluster).filter(|holders| !holders.contains_key(&0))
    })
    .await;
    process.serve(Some("first"), "second").await;
    let holders = self::holders(&process, &cluster);
    let expected: Vec<_> = (1..6)
        .map(|node| match holders.contains_key(&node) {
            true => CONNECTIONS,
            false => 0,
        })
        .collect();
    have_connections(&cluster.nodes[1..], &expected).await;
    process.audit();
}

/// Returns how many tenants each node holds, or `None` as long as the nodes don't agree.
fn holders_of(process: &Process, cluster: &Cluster) -> Option<BTreeMap<usize, usize>> {
    let mut owners = BTreeMap::<u16, usize>::new();
    let mut holders = BTreeMap::new();
    for (tenant, _) in &process.0 {
        let slot = slot(&tenant.prefix());
        // One node holds the tenants of one third of the slots, so one request per third is enough.
        let third = slot / 5_462;
        let owner = match owners.get(&third) {
            Some(owner) => *owner,
            None => *owners.entry(third).or_insert(cluster.owner_of(slot)?),
        };
        *holders.entry(owner).or_default() += 1;
    }
    Some(holders)
}

fn holders(process: &Process, cluster: &Cluster) -> BTreeMap<usize, usize> {
    holders_of(process, cluster).expect("the nodes agree")
}
