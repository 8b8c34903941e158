//! A cluster in which slots move and primaries fail. No caller gets a wrong answer, and tenants whose slots aren't
//! affected notice nothing.

use std::time::{Duration, Instant};

use testkit::{
    broker_process::BrokerProcess,
    cluster::{Cluster, Options, slot},
    deployment::Deployment,
    waiting::found,
};

use crate::{
    TURN,
    load::{Call, Calls, Load},
    outcome::{Outcome, Switched},
    report,
    round::CALM,
    rows::{Round, prefix},
    series,
};

/// The number of brokers of each tenant.
const BROKERS: usize = 2;

struct Tenant {
    name: String,
    slot: u16,
    brokers: Vec<BrokerProcess>,
}

/// A cluster with a tenant on each of its first two primaries. The faults affect only the first tenant.
struct TwoTenants {
    cluster: Cluster,
    tenants: [Tenant; 2],
}

impl TwoTenants {
    /// Starts the cluster. `fails` says whether the first tenant's primary is to fail. Otherwise no node is to be taken for one
    /// that failed because the machine is busy.
    async fn start(fails: bool) -> Self {
        let cluster = Cluster::start(&Options {
            node_timeout: match fails {
                true => series::silence(),
                false => Duration::from_secs(5),
            },
            ..Options::default()
        });
        cluster.settled().await;
        let tenants = [0, 1].map(|primary| {
            let names = (0..).map(|n| format!("t-{n}:failover"));
            let mut held = names.map(|name| (slot(&prefix(&name)), name));
            let here = |(slot, _): &(u16, String)| cluster.owner_of(*slot) == Some(primary);
            let (slot, name) = held.find(here).unwrap();
            let is_affected = fails && primary == 0;
            let brokers = (0..BROKERS).map(|_| broker(&cluster, &name, !is_affected));
            Tenant {
                brokers: brokers.collect(),
                name,
                slot,
            }
        });
        for tenant in &tenants {
            for broker in &tenant.brokers {
                broker.serving().await;
            }
        }
        Self { cluster, tenants }
    }

    async fn loads(&self, round: &str) -> [Load; 2] {
        let round = |tenant: &Tenant| Round {
            name: round.to_owned(),
            tenant: tenant.name.clone(),
        };
        let [first, second] = &self.tenants;
        let loads = [
            Load::start(round(first), &first.brokers).await,
            Load::start(round(second), &second.brokers).await,
        ];
        for load in &loads {
            load.answers(BROKERS, Instant::now()).await;
        }
        tokio::time::sleep(CALM).await;
        loads
    }

    /// Returns what both tenants have seen: the first tenant with this switch, the other one without any.
    async fn outcomes(&self, loads: [Load; 2], switch: Option<Switched>) -> [Outcome; 2] {
        for load in &loads {
            load.answers(BROKERS, Instant::now()).await;
        }
        tokio::time::sleep(CALM).await;
        let [first, second] = loads;
        let [first, second] = [first.end().await, second.end().await];
        self.cluster.settled().await;
        let switches: Vec<_> = switch.into_iter().collect();
        [
            Outcome::of(&first, &self.last(&first).await, &switches, BROKERS),
            Outcome::of(&second, &self.last(&second).await, &[], BROKERS),
        ]
    }

    async fn last(&self, calls: &Calls) -> Vec<Call> {
        let mut last = calls.read_all().await;
        let mut redis = (self.cluster.eyes())(&prefix(&calls.round().tenant));
        for row in calls.rows() {
            let called = Instant::now();
            let get = redis::cmd("GET").arg(calls.round().key(row)).to_owned();
            let text: Option<String> = get.query(&mut redis).unwrap();
            last.push(Call::look(row, called, text.as_deref()));
        }
        last
    }

    /// Moves the slot to another primary and back. For a while there are rows on both nodes.
    async fn moves(&self, round: &str, times: usize) -> [Outcome; 2] {
        let loads = self.loads(round).await;
        let slot = self.tenants[0].slot;
        let home = self.cluster.owner_of(slot).unwrap();
        for _ in 0..times {
            let from = self.cluster.owner_of(slot).unwrap();
            let beside = self.cluster.owner_of(self.tenants[1].slot).unwrap();
            let to = if from == beside { home } else { beside };
            let moving = self.cluster.begin_move(slot, from, to);
            while self.cluster.move_keys(moving, 20) > 0 {
                tokio::task::yield_now().await;
            }
            self.cluster.finish_move(moving);
            for load in &loads {
                load.answers(BROKERS, Instant::now()).await;
            }
        }
        self.outcomes(loads, None).await
    }

    fn replica_of(&self, primary: usize) -> usize {
        let follows = format!("master_port:{}\r", self.cluster.port(primary));
        let mut nodes = 0..self.cluster.nodes.len();
        nodes.find(|node| self.says(*node, &follows)).unwrap()
    }

    /// Returns whether a node reports this about its replication.
    fn says(&self, node: usize, what: &str) -> bool {
        let info = self.cluster.nodes[node].ask::<String>(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains(what))
    }

    /// Kills the first tenant's primary, waits until its replica has taken over, and restarts the old primary.
    async fn fails(&self, round: &str, kill: bool) -> [Outcome; 2] {
        let loads = self.loads(round).await;
        let slot = self.tenants[0].slot;
        let old = self.cluster.owner_of(slot).unwrap();
        let node = &self.cluster.nodes[old];
        let replica = self.replica_of(old);
        let begun = Instant::now();
        if kill {
            node.kill();
        } else {
            node.pause();
        }
        found("the replica takes over", || {
            self.says(replica, "role:master").then_some(())
        })
        .await;
        let seen = Instant::now();
        // Until the old primary is back, the new one has no replica that could confirm a write.
        loads[0].reads(BROKERS, seen).await;
        if kill {
            node.restart();
        } else {
            node.resume();
        }
        self.outcomes(loads, Some(Switched { begun, seen })).await
    }
}

/// Starts a broker. One that `is_patient` waits for a busy machine.
fn broker(cluster: &Cluster, tenant: &str, is_patient: bool) -> BrokerProcess {
    let url = cluster.url();
    let settings = [
        "--backend",
        "redis",
        "--redis-url",
        &url,
        "--tenant",
        tenant,
        "--durability",
        "replicated",
    ];
    let patient = [
        "--redis-timeout=5s",
        "--redis-connect-timeout=5s",
        "--durability-timeout=5s",
    ];
    let patient = if is_patient { &patient[..] } else { &[] };
    BrokerProcess::start(&[&settings[..], patient].concat())
}

/// Checks what must always hold. For the unaffected tenant, also checks that no call failed.
fn assert_well(lines: &[(String, Outcome)], beside: &Outcome) {
    series::assert_nothing_lost(lines);
    series::assert_answers(lines);
    let beside = [("a tenant beside".to_owned(), beside.clone())];
    series::assert_nothing_lost(&beside);
    series::assert_answers(&beside);
    assert_none_fails(&beside[0].1);
}

/// Checks that no call failed. On a busy machine a few may be too late for the callers who wait for 300 ms.
fn assert_none_fails(outcome: &Outcome) {
    let is_late = |how: &str| how.contains("DeadlineExceeded") || how.contains("Cancelled");
    let failures = outcome.failures.iter();
    let (late, failed): (Vec<_>, Vec<_>) = failures.partition(|(how, _)| is_late(how));
    assert!(failed.is_empty(), "{failed:?}");
    let count: usize = late.iter().map(|(_, count)| *count).sum();
    let most = match series::is_full() {
        true => 0,
        false => outcome.calls / 20,
    };
    assert!(count <= most, "{late:?} of {}", outcome.calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_under_load() {
    let _turn = TURN.lock().await;
    let tenants = TwoTenants::start(false).await;
    let times = if series::is_full() { 40 } else { 6 };
    let [first, beside] = tenants.moves("moves", times).await;
    eprintln!("moves: {}", report::line(&first));
    let lines = [(format!("{times} moves of the slot"), first)];
    report::publish("moves", &lines);
    assert_well(&lines, &beside);
    assert_none_fails(&lines[0].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn primaries_of_a_cluster_fail_under_load() {
    let _turn = TURN.lock().await;
    let tenants = TwoTenants::start(true).await;
    let times = if series::is_full() { 5 } else { 1 };
    let mut lines = ["SIGKILL", "SIGSTOP"].map(|how| (how.to_owned(), Outcome::default()));
    let mut beside = Outcome::default();
    for time in 0..times {
        for (how, outcome) in &mut lines {
            let round = format!("{how}-{time}");
            let [first, second] = tenants.fails(&round, how == "SIGKILL").await;
            eprintln!("{round}: {}", report::line(&first));
            outcome.add(first);
            beside.add(second);
        }
    }
    report::publish("cluster", &lines);
    assert_well(&lines, &beside);
}
