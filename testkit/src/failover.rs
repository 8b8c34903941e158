//! Triggers failovers, and waits until all servers and sentinels agree.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    redis_server::RedisServer,
    sentinel::{MASTER, Sentinels, told_by},
    waiting::{found, found_within},
};

/// How long the servers may take to settle. Sentinels of Redis 6.2 turn a demoted primary into a
/// replica after 8 s, and notice it after 10 s.
const SETTLING: Duration = Duration::from_secs(60);

/// How long a sentinel has for a failover before it is asked again. It refuses while it is at work on one.
const AGAIN: Duration = Duration::from_secs(2);

impl Sentinels {
    /// Makes the sentinels promote another server although this one is healthy, and waits until
    /// they report the new primary.
    pub async fn failover(&self) -> usize {
        let (old, sentinel) = found("a sentinel begins a failover", || {
            let old = self.primary()?;
            let mut sentinels = self.sentinels.iter();
            let begun = sentinels.find(|sentinel| begins_a_failover(sentinel))?;
            Some((old, begun))
        })
        .await;
        let mut asked = Instant::now();
        found_within(SETTLING, "another server is the primary", || {
            // On a busy machine it gives the failover up, because it takes the replicas for unreachable.
            if asked.elapsed() > AGAIN {
                if told_by(&sentinel.client()) == Some(self.link_port(old)) {
                    begins_a_failover(sentinel);
                }
                asked = Instant::now();
            }
            self.primary().filter(|new| *new != old)
        })
        .await
    }

    /// Waits until the sentinels report a primary other than this server.
    pub async fn successor_of(&self, old: usize) -> usize {
        found_within(SETTLING, "another server is the primary", || {
            self.primary().filter(|new| *new != old)
        })
        .await
    }

    /// Waits until there are a primary and two replicas that follow it, and all sentinels know.
    /// Returns the primary.
    pub async fn settled(&self) -> usize {
        found_within(SETTLING, "one primary, two replicas, one opinion", || {
            self.primary().filter(|&primary| self.is_settled(primary))
        })
        .await
    }

    fn is_settled(&self, primary: usize) -> bool {
        let port = self.links[primary].port().to_string();
        let follow = (0..self.servers.len()).all(|i| {
            let info: String = self.servers[i]
                .ask_promptly(&["INFO", "replication"])
                .unwrap_or_default();
            let has = |line: &str| info.lines().any(|there| there == line);
            if i == primary {
                has("role:master") && info.matches("state=online").count() == 2
            } else {
                has(&format!("master_port:{port}")) && has("master_link_status:up")
            }
        });
        follow
            && self.sentinels.iter().all(|sentinel| {
                let master = describe(sentinel, "MASTER").into_iter().next();
                let replicas = describe(sentinel, "REPLICAS");
                master.is_some_and(|master| {
                    master["port"] == port
                        && master["flags"] == "master"
                        && master["num-other-sentinels"] == "2"
                }) && replicas.len() == 2
                    && replicas.iter().all(|replica| {
                        replica["flags"] == "slave"
                            && replica["role-reported"] == "slave"
                            && replica["master-port"] == port
                            && replica["master-link-status"] == "ok"
                    })
            })
    }
}

/// Returns what a sentinel knows about the master, or about each of its replicas. Returns nothing
/// if the sentinel doesn't answer.
fn describe(sentinel: &RedisServer, what: &str) -> Vec<BTreeMap<String, String>> {
    let command = ["SENTINEL", what, MASTER];
    if what == "MASTER" {
        sentinel.ask_promptly(&command).map(|one| vec![one])
    } else {
        sentinel.ask_promptly(&command)
    }
    .unwrap_or_default()
}

fn begins_a_failover(sentinel: &RedisServer) -> bool {
    sentinel
        .ask_promptly::<()>(&["SENTINEL", "FAILOVER", MASTER])
        .is_ok()
}
