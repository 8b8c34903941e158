//! The primaries of a cluster's slots, as its nodes report them.
//!
//! As long as calls are answered, no node is asked. A node that lost a slot says so itself (`MOVED`), and a
//! node that lost the majority stops (`CLUSTERDOWN`). When a call fails, all nodes are asked at once. If
//! their answers about a slot differ, the answer with the newer epoch counts.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{FromRedisValue, Value};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Primary,
    facts::refusal,
    nodes::{self, Node},
    primaries::{Leave, Primaries},
    servers::{Doubt, open},
};
use crate::store::redis::{
    Address,
    link::wire::{AtFault, ConnectError, Connection, Connector},
};

/// Describes a server that isn't a node of a cluster.
pub const NO_NODE: &str =
    "is no node of a cluster; the URL of a single server begins with redis://";

const NO_HOLDER: &str = "no node holds the tenant's slot";

/// How long to wait for other nodes after the first answer, because they may know more.
const FIRST: Duration = Duration::from_millis(100);

/// A cluster, and the task that asks its nodes when the primaries are in doubt.
#[derive(Debug)]
pub struct Cluster {
    nodes: Arc<Nodes>,
    /// Runs from the first use on.
    task: OnceLock<JoinSet<()>>,
    importing: Mutex<HashMap<Address, Connection>>,
}

/// The nodes of a cluster, and what they have said.
#[derive(Debug)]
struct Nodes {
    seeds: Vec<Address>,
    connector: Connector,
    primaries: Primaries,
    doubt: Doubt,
    known: Mutex<BTreeSet<Address>>,
    /// The primaries that another server may have followed. The nodes are asked about each until the given
    /// time.
    suspects: Mutex<Vec<(Arc<Primary>, Instant)>>,
    /// Locked by the task that asks the nodes.
    turn: tokio::sync::Mutex<Option<Asked>>,
    last_failure: Mutex<Option<ConnectError>>,
}

/// When the nodes were asked last, and why that failed, if it did.
#[derive(Debug)]
struct Asked {
    at: Instant,
    failure: Option<ConnectError>,
}

/// The servers that may hold keys of a slot.
#[derive(Debug)]
pub(super) struct Holders {
    /// All primaries, because a slot that moves is on two of them.
    pub(super) primaries: Vec<Address>,
    /// The primary that the slot belongs to, and its epoch.
    pub(super) holder: (Address, u64),
    /// Whether the slot is moving to or from this primary.
    pub(super) is_moving: bool,
}

impl Cluster {
    pub(super) fn new(
        seeds: Vec<Address>,
        connector: Connector,
        primaries: Primaries,
        doubt: Doubt,
    ) -> Self {
        let nodes = Nodes {
            known: Mutex::new(seeds.iter().cloned().collect()),
            seeds,
            connector,
            primaries,
            doubt,
            suspects: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            last_failure: Mutex::default(),
        };
        nodes.doubt.raise();
        Self {
            nodes: Arc::new(nodes),
            task: OnceLock::new(),
            importing: Mutex::default(),
        }
    }

    /// Returns the primary of `slot`. Asks the nodes if no usable primary is known.
    pub(super) async fn primary(&self, slot: u16) -> Result<Arc<Primary>, ConnectError> {
        self.task.get_or_init(|| {
            let mut task = JoinSet::new();
            task.spawn(ask_when_in_doubt(Arc::clone(&self.nodes)));
            task
        });
        if let Some(primary) = self.nodes.primaries.usable(slot) {
            return Ok(primary);
        }
        let looked = self.nodes.look().await;
        let found = looked.and_then(|()| self.nodes.holder(slot));
        *lock(&self.nodes.last_failure) = found.as_ref().err().cloned();
        found
    }

    /// Returns why the last search for a primary found none.
    pub(super) fn last_failure(&self) -> Option<ConnectError> {
        lock(&self.nodes.last_failure).clone()
    }

    /// Takes note that a node said that `slot` is now at `address`.
    pub(super) fn moved(&self, slot: u16, address: &Address) {
        if self.nodes.primaries.move_slot(slot, address) {
            tracing::info!(%address, slot, "another node of the cluster holds a tenant's keys");
        }
    }

    /// Takes note that a request to `primary` failed in a way that a new primary would explain.
    ///
    /// The nodes are asked in the background, and again for `span` until another server has followed
    /// `primary`. They have to be asked, because a primary that is silent doesn't say that it was followed.
    pub(super) fn suspect(&self, primary: &Arc<Primary>, span: Duration) {
        let end = Instant::now() + span;
        let mut suspects = lock(&self.nodes.suspects);
        match suspects
            .iter_mut()
            .find(|(suspect, _)| Arc::ptr_eq(suspect, primary))
        {
            Some((_, until)) => *until = end.max(*until),
            None => suspects.push((Arc::clone(primary), end)),
        }
        drop(suspects);
        self.nodes.doubt.raise();
    }

    /// Returns a connection to the node that a slot is moving to. All callers share it.
    pub(super) async fn importing(&self, address: &Address) -> Result<Connection, ConnectError> {
        let open_already = lock(&self.importing).get(address).cloned();
        if let Some(connection) = open_already.filter(|connection| !connection.is_broken()) {
            return Ok(connection);
        }
        let connection = open(&self.nodes.connector, address).await?;
        lock(&self.importing).insert(address.clone(), connection.clone());
        Ok(connection)
    }

    /// Returns the servers that may hold keys of `slot`.
    pub(super) async fn holders(&self, slot: u16) -> Result<Holders, ConnectError> {
        let nodes = self.nodes.ask().await?;
        let holder = nodes
            .iter()
            .find(|node| node.is_primary && node.holds(slot))
            .ok_or_else(|| ConnectError::passing(NO_HOLDER))?;
        if holder.has_failed {
            return Err(failed(&holder.address));
        }
        // Only the holder itself says that the slot is moving.
        let told = nodes_of(&self.nodes.connector, &holder.address).await?;
        let itself = told.iter().find(|node| node.id == holder.id);
        let primaries: BTreeSet<_> = nodes
            .iter()
            .filter(|node| node.is_primary && !node.has_failed)
            .map(|node| node.address.clone())
            .collect();
        Ok(Holders {
            primaries: primaries.into_iter().collect(),
            is_moving: itself.is_some_and(|node| node.moving.contains(&slot)),
            holder: (holder.address.clone(), holder.epoch),
        })
    }
}

/// Asks the nodes whenever the primaries are in doubt. Never returns.
async fn ask_when_in_doubt(nodes: Arc<Nodes>) {
    loop {
        nodes.doubt.raised().await;
        _ = nodes.look().await;
        let mut suspects = lock(&nodes.suspects);
        let now = Instant::now();
        suspects.retain(|(suspect, until)| *until > now && nodes.primaries.has(suspect));
        if !suspects.is_empty() {
            nodes.doubt.raise();
        }
    }
}

impl Nodes {
    fn holder(&self, slot: u16) -> Result<Arc<Primary>, ConnectError> {
        let error = match self.primaries.of(slot) {
            Some(primary) if !primary.has_failed() => return Ok(primary),
            Some(primary) => failed(&primary.address),
            None => ConnectError::passing(NO_HOLDER),
        };
        self.doubt.raise();
        Err(error)
    }

    /// Asks the nodes, unless another task did so since this was called.
    async fn look(&self) -> Result<(), ConnectError> {
        let called = Instant::now();
        let mut turn = self.turn.lock().await;
        if let Some(Asked { at, failure }) = &*turn
            && *at > called
        {
            return failure.clone().map_or(Ok(()), Err);
        }
        // The nodes are asked at most ten times a second, by all tasks together.
        if let Some(Asked { at, .. }) = &*turn {
            sleep_until(*at + FIRST).await;
        }
        let asked = self.ask().await;
        if asked.is_err() {
            self.doubt.raise();
        }
        *turn = Some(Asked {
            at: Instant::now(),
            failure: asked.as_ref().err().cloned(),
        });
        asked.map(drop)
    }

    /// Asks all nodes and updates the primaries. Returns the answers as one list.
    async fn ask(&self) -> Result<Vec<Node>, ConnectError> {
        let asked: Vec<_> = lock(&self.known).iter().cloned().collect();
        let mut answers: FuturesUnordered<_> = asked
            .iter()
            .map(|address| nodes_of(&self.connector, address))
            .collect();
        let (mut told, mut failure) = (Vec::new(), None::<ConnectError>);
        loop {
            let next = match told.is_empty() {
                true => answers.next().await,
                false => timeout(FIRST, answers.next()).await.unwrap_or_default(),
            };
            match next {
                None => break,
                Some(Ok(nodes)) => told.push(nodes),
                Some(Err(error)) => {
                    if failure
                        .as_ref()
                        .is_none_or(|failure| failure.at_fault.is_none())
                    {
                        failure = Some(error);
                    }
                }
            }
        }
        if told.is_empty() {
            return Err(failure.unwrap_or_else(|| ConnectError::passing("no node answers")));
        }
        let nodes = nodes::merge(told);
        // Nodes that have left the cluster are forgotten. The seeds never are.
        *lock(&self.known) = nodes
            .iter()
            .map(|node| &node.address)
            .chain(&self.seeds)
            .cloned()
            .collect();
        // A node that merely gave its slots away still answers earlier requests. A node that failed may not.
        let leave = |address: &Address| {
            let is_well =
                |node: &Node| node.address == *address && node.is_primary && !node.has_failed;
            match nodes.iter().any(is_well) {
                true => Leave::WhenAnswered,
                false => Leave::Now,
            }
        };
        for address in self.primaries.replace(&nodes::claims(&nodes), leave) {
            tracing::info!(%address, "this node of the cluster is a primary");
        }
        Ok(nodes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(address: &Address) -> ConnectError {
    ConnectError::passing(format!("{address} has failed"))
}

/// Returns what the node at `address` knows about all nodes.
async fn nodes_of(connector: &Connector, address: &Address) -> Result<Vec<Node>, ConnectError> {
    let mut connection = open(connector, address).await?;
    let mut cmd = redis::cmd("CLUSTER");
    cmd.arg("NODES");
    let answers = connection.send_all(vec![cmd]).await;
    let gone = |_| ConnectError::passing(format!("{address}: the connection ended"));
    let answer = answers.map_err(gone)?.pop().unwrap_or(Value::Nil);
    if let Value::ServerError(error) = &answer {
        let text = error.details().unwrap_or_default();
        return Err(if text.contains("cluster support disabled") {
            ConnectError::of(AtFault::Url, format!("{address} {NO_NODE}"))
        } else {
            refusal(address, error)
        });
    }
    let text = String::from_redis_value(answer)
        .map_err(|_| ConnectError::passing(format!("{address} gave no known answer")))?;
    Ok(nodes::parse(&text, address))
}
