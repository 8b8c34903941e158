//! A Redis Cluster of three primaries, each with one replica. All are real servers on free ports.

use std::{sync::Arc, time::Duration};

use crate::{
    cluster_nodes::{Node, SLOTS, owner_told_by},
    deployment::{Deployment, Eyes, Setting},
    launch::{Launch, Program},
    redis_server::RedisServer,
    security::Security,
    waiting::found_within,
};

/// How many primaries there are at the start. There are as many replicas.
const PRIMARIES: usize = 3;
/// How long six servers may take to agree, on a machine under load.
const SETTLING: Duration = Duration::from_secs(60);

pub use crate::cluster_nodes::slot;

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that each server runs.
    pub program: Program,
    /// Which clients the servers accept.
    pub security: Security,
    /// After about how long a silent node counts as failed.
    pub node_timeout: Duration,
    /// Additional lines of configuration for each node.
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
    /// The primaries, followed by the replica of each, as they were at the start.
    pub nodes: Vec<RedisServer>,
    /// The ids of the nodes, in the same order.
    pub ids: Vec<String>,
    pub(crate) security: Security,
}

impl Cluster {
    /// Starts the nodes. They form a cluster once [`Cluster::settled`] returns.
    pub fn start(options: &Options) -> Self {
        let timeout = options.node_timeout.as_millis();
        let launch = Launch::new(options.program).lines([
            "cluster-enabled yes".to_owned(),
            format!("cluster-node-timeout {timeout}"),
            // Only slots without a primary are out of service.
            "cluster-require-full-coverage no".to_owned(),
            "repl-diskless-sync yes".to_owned(),
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

    /// Assigns the slots to the primaries, introduces all nodes to each other, and makes the
    /// replicas follow.
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

    /// Returns the URL by which a broker reaches the cluster.
    pub fn url(&self) -> String {
        let hosts = self.nodes.iter().map(|node| self.security.port(node));
        let hosts: Vec<_> = hosts.map(|port| format!("127.0.0.1:{port}")).collect();
        self.security.url_start("+cluster") + &hosts.join(",")
    }

    /// Returns the node that holds the slot, according to most nodes.
    pub fn owner_of(&self, slot: u16) -> Option<usize> {
        let clients = self.nodes.iter().map(RedisServer::client);
        let told: Vec<_> = clients
            .filter_map(|client| owner_told_by(&client, slot))
            .collect();
        let majority =
            |port: u16| told.iter().filter(|told| **told == port).count() * 2 > told.len();
        self.nodes.iter().position(|node| majority(node.port()))
    }

    /// Waits until the six nodes form one cluster: all slots have a primary, each primary has a
    /// replica that follows it, and all nodes agree.
    pub async fn settled(&self) {
        found_within(SETTLING, "a cluster", || {
            for i in PRIMARIES..self.nodes.len() {
                let primary = &self.ids[i - PRIMARIES];
                let knows_it = self.nodes_of(i).iter().any(|node| node.id == *primary);
                if knows_it && self.nodes_of(i).iter().all(|node| node.primary != *primary) {
                    // This holds only at the start. Later the cluster decides the roles.
                    self.nodes[i]
                        .ask_promptly::<()>(&["CLUSTER", "REPLICATE", primary])
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
        let info: String = self.nodes[i]
            .ask_promptly(&["CLUSTER", "INFO"])
            .unwrap_or_default();
        let nodes = self.nodes_of(i);
        let held: usize = nodes.iter().map(|node| node.slots).sum();
        let replication: String = self.nodes[i]
            .ask_promptly(&["INFO", "replication"])
            .unwrap_or_default();
        info.contains("cluster_state:ok")
            && held == usize::from(SLOTS)
            && nodes.len() == self.nodes.len()
            && nodes.iter().filter(|node| node.slots > 0).count() >= PRIMARIES
            && (replication.contains("state=online")
                || replication.contains("master_link_status:up"))
    }

    /// Returns the port that brokers and servers use, which may differ from the test's.
    pub fn port(&self, node: usize) -> u16 {
        self.security.port(&self.nodes[node])
    }

    fn nodes_of(&self, i: usize) -> Vec<Node> {
        let told: String = self.nodes[i]
            .ask_promptly(&["CLUSTER", "NODES"])
            .unwrap_or_default();
        told.lines().filter_map(Node::parse).collect()
    }
}

impl Deployment for Cluster {
    fn settings(&self) -> Vec<Setting> {
        let mut settings = self.security.settings(&self.nodes[0]);
        settings.push(("redis-url", self.url()));
        settings
    }

    /// Connects to the node that holds the key, according to the first node that answers.
    fn eyes(&self) -> Eyes {
        let clients = self.nodes.iter().map(|node| (node.port(), node.client()));
        let clients: Vec<_> = clients.collect();
        Arc::new(move |key| {
            let told = clients
                .iter()
                .find_map(|(_, client)| owner_told_by(client, slot(key)));
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
