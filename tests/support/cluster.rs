//! A Redis Cluster of three primaries with a replica each, all real, on free ports.

use std::{sync::Arc, time::Duration};

use super::{
    deployment::{Deployment, Eyes, Setting},
    launch::{Launch, Program},
    redis_server::{PROMPT, RedisServer},
    security::Security,
    waiting::found,
};

/// How many slots a cluster has.
pub const SLOTS: u16 = 16_384;
/// How many primaries there are in the beginning, and as many replicas.
const PRIMARIES: usize = 3;

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    pub program: Program,
    pub security: Security,
    /// After how long a silent node counts as failed, about.
    pub node_timeout: Duration,
    /// More lines of configuration for each node.
    pub node: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: Program::Usual,
            security: Security::NONE,
            node_timeout: Duration::from_millis(1_000),
            node: Vec::new(),
        }
    }
}

/// The nodes.
pub struct Cluster {
    /// First the primaries, then the replica of each, as they were in the beginning.
    pub nodes: Vec<RedisServer>,
    /// What the nodes are called, in the same order.
    pub ids: Vec<String>,
    pub(super) security: Security,
}

impl Cluster {
    /// Starts the nodes. They are a cluster when it has [`Cluster::settled`].
    pub fn start(options: &Options) -> Self {
        let timeout = options.node_timeout.as_millis();
        let launch = Launch::new(options.program).lines([
            "cluster-enabled yes".to_owned(),
            format!("cluster-node-timeout {timeout}"),
            // Only the slots without a primary are out of service.
            "cluster-require-full-coverage no".to_owned(),
            "repl-diskless-sync yes".to_owned(),
            "repl-diskless-sync-delay 0".to_owned(),
        ]);
        let tls = options.security.tls.then_some("tls-cluster yes");
        let launch = launch.lines(tls).lines(options.node.iter().cloned());
        let launch = options.security.of_server(launch);
        let nodes: Vec<_> = (0..2 * PRIMARIES).map(|_| launch.clone().start()).collect();
        let ids = nodes
            .iter()
            .map(|node| node.ask(&["CLUSTER", "MYID"]).unwrap());
        let cluster = Self {
            ids: ids.collect(),
            nodes,
            security: options.security,
        };
        cluster.introduce();
        cluster
    }

    /// Gives the primaries their slots and has all nodes meet, then the replicas follow.
    fn introduce(&self) {
        let per_primary = SLOTS.div_ceil(PRIMARIES as u16);
        for (i, node) in self.nodes.iter().enumerate() {
            let epoch = (i + 1).to_string();
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
                .unwrap();
            let port = self.port(0).to_string();
            node.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port])
                .unwrap();
            let first = u16::try_from(i).unwrap() * per_primary;
            let slots = first..SLOTS.min(first + per_primary);
            if i < PRIMARIES {
                let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
                let slots = slots.iter().map(String::as_str);
                let command: Vec<_> = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots).collect();
                node.ask::<()>(&command).unwrap();
            }
        }
    }

    /// How a broker reaches the cluster.
    pub fn url(&self) -> String {
        let hosts = self.nodes.iter().map(|node| self.security.port(node));
        let hosts: Vec<_> = hosts.map(|port| format!("127.0.0.1:{port}")).collect();
        self.security.url_start("+cluster") + &hosts.join(",")
    }

    /// The node that holds the slot, by the word of most nodes.
    pub fn owner_of(&self, slot: u16) -> Option<usize> {
        let clients = self.nodes.iter().map(RedisServer::client);
        let told: Vec<_> = clients
            .filter_map(|client| told_by(&client, slot))
            .collect();
        let majority =
            |port: u16| told.iter().filter(|told| **told == port).count() * 2 > told.len();
        self.nodes.iter().position(|node| majority(node.port()))
    }

    /// Waits until the six nodes are one cluster: all slots have a primary, each primary a replica
    /// that follows it, and all agree.
    pub async fn settled(&self) {
        found("a cluster", || {
            for i in PRIMARIES..self.nodes.len() {
                let primary = &self.ids[i - PRIMARIES];
                let knows_it = self.nodes_of(i).iter().any(|node| node.id == *primary);
                if knows_it && self.nodes_of(i).iter().all(|node| node.primary != *primary) {
                    // Only in the beginning: later on its role is the cluster's business.
                    self.nodes[i]
                        .ask::<()>(&["CLUSTER", "REPLICATE", primary])
                        .ok();
                }
            }
            (0..self.nodes.len())
                .all(|i| self.is_settled(i))
                .then_some(())
        })
        .await;
    }

    fn is_settled(&self, i: usize) -> bool {
        let info: String = self.nodes[i].ask(&["CLUSTER", "INFO"]).unwrap_or_default();
        let nodes = self.nodes_of(i);
        let held: usize = nodes.iter().map(|node| node.slots).sum();
        let replication: String = self.nodes[i]
            .ask(&["INFO", "replication"])
            .unwrap_or_default();
        info.contains("cluster_state:ok")
            && held == usize::from(SLOTS)
            && nodes.len() == self.nodes.len()
            && nodes.iter().filter(|node| node.slots > 0).count() >= PRIMARIES
            && (replication.contains("state=online")
                || replication.contains("master_link_status:up"))
    }

    /// The port that others than the test speak to.
    pub fn port(&self, node: usize) -> u16 {
        self.security.port(&self.nodes[node])
    }

    fn nodes_of(&self, i: usize) -> Vec<Node> {
        let told: String = self.nodes[i].ask(&["CLUSTER", "NODES"]).unwrap_or_default();
        told.lines().filter_map(Node::parse).collect()
    }
}

/// What a node knows of another one.
struct Node {
    id: String,
    /// The id of whom it follows, or `-`.
    primary: String,
    slots: usize,
}

impl Node {
    /// `<id> <address> <flags> <primary> <ping> <pong> <epoch> <link> <slots>...`
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        if words.len() < 8 || words[2].contains("handshake") || words[2].contains("fail") {
            return None;
        }
        let count = |range: &&str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some(last + 1 - first)
        };
        Some(Self {
            id: words[0].to_owned(),
            primary: words[3].to_owned(),
            slots: words[8..].iter().filter_map(count).sum(),
        })
    }
}

/// The port of the node that holds a slot, by the word of another one.
fn told_by(node: &redis::Client, slot: u16) -> Option<u16> {
    let mut connection = node.get_connection_with_timeout(PROMPT).ok()?;
    connection.set_read_timeout(Some(PROMPT)).ok()?;
    let told: Vec<Vec<redis::Value>> = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query(&mut connection)
        .ok()?;
    told.into_iter().find_map(|range| {
        let [first, last, primary]: [redis::Value; 3] = range
            .into_iter()
            .take(3)
            .collect::<Vec<_>>()
            .try_into()
            .ok()?;
        let (first, last): (u16, u16) = (
            redis::from_redis_value(first).ok()?,
            redis::from_redis_value(last).ok()?,
        );
        let redis::Value::Array(primary) = primary else {
            return None;
        };
        let port = redis::from_redis_value(primary.into_iter().nth(1)?).ok()?;
        (first..=last).contains(&slot).then_some(port)
    })
}

/// The slot of a key: of what stands in its first braces, or else of all of it.
pub fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    let tag = tag.map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

impl Deployment for Cluster {
    fn settings(&self) -> Vec<Setting> {
        let mut settings = self.security.settings(&self.nodes[0]);
        settings.push(("redis-url", self.url()));
        settings
    }

    /// Of the node that holds the key by the word of the first one that answers.
    fn eyes(&self) -> Eyes {
        let clients = self.nodes.iter().map(|node| (node.port(), node.client()));
        let clients: Vec<_> = clients.collect();
        Arc::new(move |key| {
            let told = clients
                .iter()
                .find_map(|(_, client)| told_by(client, slot(key)));
            let port = told.expect("a node that holds it");
            let holder = clients.iter().find(|(at, _)| *at == port);
            holder
                .expect("one of the nodes")
                .1
                .get_connection()
                .unwrap()
        })
    }
}
