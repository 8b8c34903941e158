//! The primaries of a cluster's slots, as its nodes report them.
//!
//! As long as calls are answered, no node is asked. A node that lost a slot says so itself (`MOVED`), and a
//! node that lost the majority stops (`CLUSTERDOWN`). When a call fails, all nodes are asked at once. If
//! their answers about a slot differ, the answer with the newer epoch counts.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock},
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
    endpoints::Endpoints,
    facts::refusal,
    importing::Importing,
    nodes::{self, Node, Told},
    primaries::Primaries,
    primary::Leave,
    roster::Roster,
    servers::{Doubt, open},
};
use crate::{
    store::redis::{
        Address,
        link::wire::{AtFault, ConnectError, Connection, Connector},
    },
    types::lock,
    upheld::upheld,
};

/// Describes a server that isn't a node of a cluster.
pub const NO_NODE: &str =
    "is no node of a cluster; the URL of a single server begins with redis://";

const NO_HOLDER: &str = "no node holds the tenant's slot";

/// How long to wait for other nodes after the first answer, because they may know more.
const FIRST: Duration = Duration::from_millis(100);
/// How long to wait for each further answer as long as it isn't known which cluster most of the seeds belong to.
const MOST: Duration = Duration::from_millis(500);

/// A cluster, and the task that asks its nodes when the primaries are in doubt.
#[derive(Debug)]
pub struct Cluster {
    nodes: Arc<Nodes>,
    /// Runs from the first use on.
    task: OnceLock<JoinSet<Infallible>>,
    importing: Importing,
}

/// The nodes of a cluster, and what they have said.
#[derive(Debug)]
struct Nodes {
    connector: Connector,
    primaries: Primaries,
    doubt: Doubt,
    roster: Mutex<Roster>,
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
            roster: Mutex::new(Roster::new(seeds)),
            connector,
            primaries,
            doubt,
            suspects: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            last_failure: Mutex::default(),
        };
        Self {
            nodes: Arc::new(nodes),
            task: OnceLock::new(),
            importing: Importing::default(),
        }
    }

    /// Returns the primary of `slot`. Asks the nodes if no usable primary is known.
    pub(super) async fn primary(&self, slot: u16) -> Result<Arc<Primary>, ConnectError> {
        self.task.get_or_init(|| {
            let mut task = JoinSet::new();
            let nodes = Arc::clone(&self.nodes);
            task.spawn(upheld("asking the nodes of the cluster", move || {
                // To ask once too often does no harm, and what begins again had a reason to ask.
                nodes.doubt.raise();
                ask_when_in_doubt(Arc::clone(&nodes))
            }));
            task
        });
        if let Some(primary) = self.nodes.primaries.usable(slot) {
            return Ok(primary);
        }
        // The task asks too, in case this caller leaves before the nodes have answered.
        self.nodes.doubt.raise();
        let looked = self.nodes.look().await;
        let found = looked.and_then(|()| self.nodes.holder(slot));
        *lock(&self.nodes.last_failure) = found.as_ref().err().cloned();
        found
    }

    /// Returns why the last search for a primary found none.
    pub(super) fn last_failure(&self) -> Option<ConnectError> {
        lock(&self.nodes.last_failure).clone()
    }

    /// Takes note that `primary` said that `slot` is now at `address`.
    pub(super) fn moved(&self, slot: u16, primary: &Primary, address: &Address) {
        let address = &self.nodes.in_use(at_host_of(&primary.address, address));
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

    /// Returns a connection to the node that a slot is moving to, as `primary` said. All callers share it.
    pub(super) async fn importing(
        &self,
        primary: &Primary,
        address: &Address,
    ) -> Result<Connection, ConnectError> {
        let address = &at_host_of(&primary.address, address);
        let opening = open(&self.nodes.connector, address);
        self.importing.connection(address, opening).await
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
        let itself = told.nodes.iter().find(|node| node.id == holder.id);
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

/// Asks the nodes whenever the primaries are in doubt.
async fn ask_when_in_doubt(nodes: Arc<Nodes>) -> Infallible {
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

    /// Returns the address at which the broker uses the node at `address`. They differ if they are two spellings of
    /// one address.
    fn in_use(&self, address: Address) -> Address {
        let mut roster = lock(&self.roster);
        roster.add(&address);
        let held = roster
            .id(&address)
            .map(|id| self.primaries.held().remove(id));
        held.flatten().unwrap_or(address)
    }

    /// Asks all nodes and updates the primaries. Returns the answers as one list.
    async fn ask(&self) -> Result<Vec<Node>, ConnectError> {
        let told = self.answers().await?;
        let nodes = nodes::merge(&told, &self.primaries.held());
        lock(&self.roster).update(&told, &nodes);
        // A node that merely gave its slots away still answers earlier requests. A node that failed may not.
        let leave = |primary: &Primary| {
            let is_it = |node: &Node| match primary.id() {
                Some(id) => node.id == id,
                None => node.address == primary.address,
            };
            let is_well = |node: &Node| is_it(node) && node.is_primary && !node.has_failed;
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

    /// Asks all nodes. Returns the answers that count.
    async fn answers(&self) -> Result<Vec<Told>, ConnectError> {
        let (asked, quorum) = {
            let roster = lock(&self.roster);
            (roster.addresses(), roster.quorum())
        };
        let mut answers: FuturesUnordered<_> = asked
            .iter()
            .map(|address| nodes_of(&self.connector, address))
            .collect();
        let (mut told, mut failure) = (Vec::new(), None::<ConnectError>);
        loop {
            let wait = match told.len() {
                0 => Duration::MAX,
                few if few < quorum => MOST,
                _ => FIRST,
            };
            match timeout(wait, answers.next()).await.unwrap_or_default() {
                None => break,
                Some(Ok(answer)) => match self.is_member(&answer) {
                    true => told.push(answer),
                    false => failure = Some(self.stranger(&answer.asked)),
                },
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
        let (told, others) = lock(&self.roster).of_one_cluster(told);
        for other in others {
            self.stranger(&other.asked);
        }
        Ok(told)
    }

    fn is_member(&self, told: &Told) -> bool {
        let is_named = self.primaries.is_unasked(&told.asked);
        lock(&self.roster).is_member(told, is_named)
    }

    /// Warns of a server that belongs to another cluster, once. Returns the reason why its answer doesn't count.
    fn stranger(&self, address: &Address) -> ConnectError {
        if lock(&self.roster).note_stranger(address) {
            tracing::warn!(
                %address,
                "this node belongs to another cluster, and its answers don't count: it knows no primary of the \
                 cluster that the broker uses"
            );
        }
        ConnectError::passing(format!("{address} belongs to another cluster"))
    }
}

/// Returns `address`, at the host of the server that named it if it has none.
fn at_host_of(server: &Address, address: &Address) -> Address {
    match (server, address) {
        (Address::Tcp(host, _), Address::Tcp(named, port)) if named.is_empty() => {
            Address::Tcp(host.clone(), *port)
        }
        _ => address.clone(),
    }
}

fn failed(address: &Address) -> ConnectError {
    ConnectError::passing(format!("{address} has failed"))
}

/// Returns what the node at `address` knows about all nodes.
async fn nodes_of(connector: &Connector, address: &Address) -> Result<Told, ConnectError> {
    let mut connection = open(connector, address).await?;
    let cmds = ["SLOTS", "NODES"].map(|what| {
        let mut cmd = redis::cmd("CLUSTER");
        cmd.arg(what);
        cmd
    });
    let answers = connection.send_all(cmds.into()).await;
    let gone = |_| ConnectError::passing(format!("{address}: the connection ended"));
    let mut answers = answers.map_err(gone)?.into_iter();
    let mut next = || match answers.next() {
        Some(Value::ServerError(error)) => {
            let text = error.details().unwrap_or_default();
            Err(if text.contains("cluster support disabled") {
                ConnectError::of(AtFault::Url, format!("{address} {NO_NODE}"))
            } else {
                refusal(address, &error)
            })
        }
        answer => Ok(answer.unwrap_or(Value::Nil)),
    };
    let (slots, nodes) = (next()?, next()?);
    let text = String::from_redis_value(nodes)
        .map_err(|_| ConnectError::passing(format!("{address} gave no known answer")))?;
    Ok(Told {
        asked: address.clone(),
        nodes: nodes::parse(&text, &Endpoints::read(slots, address)),
    })
}
