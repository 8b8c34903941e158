//! Tests M7 while another server takes over and the first one comes back. Its address and its process stay the same,
//! but its data is that of the other server: what was changed shortly before the failover is undone.
//!
//! A check runs beside the migration. It has seen a sound tenant, but the tenant that comes back is damaged.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use testkit::{
    cluster::{self, Cluster},
    deployment::Deployment,
    launch::{Launch, Program},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    replica,
    sentinel::{self, Sentinels},
    waiting::{found, until},
};
use token_broker::store::{
    Sealing,
    redis::maintenance::{
        check::{Check, CheckProgress, FindingKind},
        migration::{
            Migration,
            progress::{MigrationProgress, Progress},
        },
    },
};
use tokio::task::{JoinHandle, block_in_place};

use crate::{
    moving::{is_migrated, plant},
    old_tenant::mapping_of,
};

/// How long a walk is halted at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Halts a walk once, at the first state for which `at` holds.
struct Halt<S> {
    at: fn(&S) -> bool,
    reached: AtomicBool,
    over: AtomicBool,
}

impl<S> Halt<S> {
    /// Returns a halt that lives as long as the process, because the walk runs in a task.
    fn at(at: fn(&S) -> bool) -> &'static Self {
        Box::leak(Box::new(Self {
            at,
            reached: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }))
    }

    async fn reached(&self) {
        until("the walk is halted", async || {
            self.reached.load(Ordering::SeqCst)
        })
        .await;
    }

    fn go_on(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl<S: Send + Sync> Progress<S> for Halt<S> {
    fn update(&self, now: &S) {
        if (self.at)(now) && !self.reached.swap(true, Ordering::SeqCst) {
            let begun = Instant::now();
            block_in_place(|| {
                // A test that failed lets nothing go on.
                while !self.over.load(Ordering::SeqCst) && begun.elapsed() < LONGEST {
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
    }
}

/// A migration and a check, both halted in the middle.
struct Walks {
    old: RedisTenant,
    migration: (JoinHandle<()>, &'static Halt<MigrationProgress>),
    checked: RedisTenant,
    check: (JoinHandle<u64>, &'static Halt<CheckProgress>),
}

fn tenants(deployment: &impl Deployment) -> (RedisTenant, RedisTenant) {
    (RedisTenant::on(deployment), RedisTenant::on(deployment))
}

/// Plants a row that is missing in its session's index, and rows of the older layout in another tenant. Waits until
/// `replicas` have them.
fn plant_in(old: &RedisTenant, checked: &RedisTenant, replicas: u32) {
    checked.run::<()>(&[
        "SET",
        &checked.key("upstream:s:p"),
        r#"{"access_token":"x"}"#,
    ]);
    plant(old, replicas);
}

impl Walks {
    /// Begins the walks. The damage of `checked` is mended first, and then no replica hears of it: the caller has cut
    /// them off.
    async fn begin(old: RedisTenant, checked: RedisTenant) -> Self {
        let row = checked.key("upstream:s:p");
        checked.run::<()>(&["SADD", &checked.key("upstream:idx:s"), &row]);
        let migrating = Halt::<MigrationProgress>::at(|now| now.migrated > 500);
        let migration = tokio::spawn({
            let migration = Migration::new(
                &old.store(),
                mapping_of(&["oidc=okta"]),
                Sealing::off(old.name().clone()),
            );
            async move { drop(migration.run(migrating).await.unwrap()) }
        });
        let checking = Halt::<CheckProgress>::at(|now| now.walked.done >= 1.0);
        let check = tokio::spawn({
            let check = Check::new(&checked.store());
            async move {
                let report = check.run(checking).await.unwrap();
                let missing = report.found.get(&FindingKind::MissingInSessionIndex);
                missing.map_or(0, |sum| sum.found)
            }
        });
        migrating.reached().await;
        checking.reached().await;
        // Redis may still be at work on what was sent before.
        let done = || {
            old.run::<Vec<String>>(&["KEYS", &old.key("upstream:s*:okta")])
                .len()
        };
        let (mut count, mut same) = (done(), 0);
        found("Redis rests", || {
            let last = std::mem::replace(&mut count, done());
            same = if count == last { same + 1 } else { 0 };
            (same > 10).then_some(())
        })
        .await;
        Self {
            old,
            migration: (migration, migrating),
            checked,
            check: (check, checking),
        }
    }

    /// Lets the walks go on, and checks what they came to.
    async fn end(self) {
        let (migration, check) = (self.migration, self.check);
        let left: Vec<String> = self.old.run(&["KEYS", &self.old.key("upstream:s*:okta")]);
        let row: Option<u64> = self
            .checked
            .run(&["SCARD", &self.checked.key("upstream:idx:s")]);
        assert!(
            left.is_empty() && row == Some(0),
            "the failover undid what was done: {} rows are still migrated",
            left.len()
        );
        migration.1.go_on();
        check.1.go_on();
        migration.0.await.unwrap();
        is_migrated(&self.old);
        assert_eq!(check.0.await.unwrap(), 1, "the check saw what came back");
    }
}

/// With a single server: a managed Redis swaps the servers behind its name, or an operator does so by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m7_a_single_server_that_was_a_replica_meanwhile() {
    let programs = [Program::Usual, Program::Oldest, Program::Valkey];
    let mut runs = tokio::task::JoinSet::new();
    for program in programs {
        runs.spawn(async move {
            let first = Launch::new(program).start();
            let second = replica::follow(&first, Launch::new(program)).await;
            let (old, checked) = tenants(&first);
            plant_in(&old, &checked, 1);
            second.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
            let walks = Walks::begin(old, checked).await;
            follow(&first, &second).await;
            first.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
            walks.end().await;
        });
    }
    runs.join_all().await;
}

/// Makes a server a replica of `primary`, with the primary's data.
async fn follow(server: &RedisServer, primary: &RedisServer) {
    let port = primary.port().to_string();
    server
        .ask::<()>(&["REPLICAOF", "127.0.0.1", &port])
        .unwrap();
    caught_up(server).await;
}

async fn caught_up(replica: &RedisServer) {
    until("the replica has caught up", async || {
        let info: String = replica.ask(&["INFO", "replication"]).unwrap_or_default();
        info.contains("role:slave") && info.contains("master_link_status:up")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m7_a_failover_there_and_back_with_sentinel() {
    // A server that stands still for a moment isn't failed over. The test does that.
    let sentinels = Sentinels::start(&sentinel::Options {
        down_after: Duration::from_secs(10),
        ..sentinel::Options::default()
    });
    let first = sentinels.settled().await;
    let (second, third) = ((first + 1) % 3, (first + 2) % 3);
    // The third server is never promoted.
    sentinels.servers[third]
        .ask::<()>(&["CONFIG", "SET", "replica-priority", "0"])
        .unwrap();
    let (old, checked) = tenants(&sentinels);
    plant_in(&old, &checked, 2);
    sentinels.cut(second);
    let walks = Walks::begin(old, checked).await;
    assert_eq!(sentinels.failover().await, second);
    sentinels.heal(second);
    sentinels.settled().await;
    assert_eq!(sentinels.failover().await, first);
    walks.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m7_a_failover_there_and_back_in_a_cluster() {
    let cluster = Cluster::start(&cluster::Options {
        node_timeout: Duration::from_secs(30),
        ..cluster::Options::default()
    });
    cluster.settled().await;
    let (old, checked) = loop {
        let (old, checked) = tenants(&cluster);
        if [&old, &checked].map(|tenant| owner(&cluster, tenant)) == [0, 0] {
            break (old, checked);
        }
    };
    plant_in(&old, &checked, 1);
    let (first, second) = (&cluster.nodes[0], &cluster.nodes[3]);
    // The replica hears of nothing more.
    for cut in [
        &["ACL", "SETUSER", "default", "-psync", "-sync"][..],
        &["CLIENT", "KILL", "TYPE", "replica"],
    ] {
        first.ask::<redis::Value>(cut).unwrap();
    }
    let walks = Walks::begin(old, checked).await;
    second
        .ask::<()>(&["CLUSTER", "FAILOVER", "TAKEOVER"])
        .unwrap();
    caught_up(first).await;
    first
        .ask::<()>(&["CLUSTER", "FAILOVER", "TAKEOVER"])
        .unwrap();
    let slot = cluster::slot(&walks.old.prefix());
    until("all nodes know", async || cluster.owner_of(slot) == Some(0)).await;
    walks.end().await;
}

fn owner(cluster: &Cluster, tenant: &RedisTenant) -> usize {
    cluster.owner_of(cluster::slot(&tenant.prefix())).unwrap()
}
