//! The primary of a slot as the nodes of a cluster tell it.
//!
//! Nobody is asked as long as calls are answered: a node that lost the slot says so itself (`MOVED`), and
//! one that lost the majority stops (`CLUSTERDOWN`). When a call goes wrong, all nodes are asked at once;
//! of what they say that with the newest epoch counts.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{FromRedisValue, Value};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Current,
    facts::refusal,
    nodes::{self, Node},
    open,
};
use crate::store::redis::{
    Address,
    link::wire::{ConnectError, Connection, Connector},
};

/// What a server is that can't be asked for the cluster.
pub const NO_NODE: &str =
    "is no node of a cluster; the URL of a single server begins with redis://";

/// How long the first answer waits for others, which may know better.
const FIRST: Duration = Duration::from_millis(100);

/// The nodes of a cluster, and the slot that matters.
#[derive(Debug)]
pub struct Cluster {
    seeds: Vec<Address>,
    connector: Connector,
    slot: u16,
    current: Arc<Current>,
    known: Mutex<BTreeSet<Address>>,
    /// Whether what is known may be out of date.
    suspect: AtomicBool,
    /// Until when the nodes are asked in the background, if they are.
    asking: Mutex<Option<Instant>>,
    /// Held by who asks.
    turn: tokio::sync::Mutex<Turn>,
    importing: Mutex<HashMap<Address, Connection>>,
}

/// When the nodes were asked last, and if that failed why.
#[derive(Debug, Default)]
struct Turn {
    asked: Option<Instant>,
    failure: Option<ConnectError>,
}

/// Who may hold keys of a tenant.
#[derive(Debug)]
pub(super) struct Holders {
    /// All primaries: a slot that moves is on two of them.
    pub(super) primaries: Vec<Address>,
    /// Which of them the slot belongs to, and since which epoch.
    pub(super) holder: (Address, u64),
    /// Whether the slot is on its connector to another one.
    pub(super) is_moving: bool,
}

impl Cluster {
    pub(super) fn new(
        seeds: Vec<Address>,
        connector: Connector,
        slot: u16,
        current: Arc<Current>,
    ) -> Self {
        Self {
            known: Mutex::new(seeds.iter().cloned().collect()),
            seeds,
            connector,
            slot,
            current,
            suspect: AtomicBool::new(true),
            asking: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            importing: Mutex::default(),
        }
    }

    /// Finds the primary, if what is known of it may be out of date.
    pub(super) async fn find(&self) -> Result<(), ConnectError> {
        // Who comes while somebody asks waits for what is found, and takes that.
        let come = Instant::now();
        let mut turn = self.turn.lock().await;
        if let (Some(asked), Some(failure)) = (turn.asked, &turn.failure)
            && asked > come
        {
            return Err(failure.clone());
        }
        if !self.suspect.load(Ordering::Acquire) {
            return Ok(());
        }
        // Whoever asks, they are asked ten times a second at most.
        if let Some(asked) = turn.asked {
            sleep_until(asked + FIRST).await;
        }
        self.suspect.store(false, Ordering::Release);
        let found = self.ask().await;
        if found.is_err() {
            self.doubt();
        }
        turn.asked = Some(Instant::now());
        turn.failure = found.as_ref().err().cloned();
        found.map(drop)
    }

    /// A node said that the slot is now at `address`.
    pub(super) fn moved(&self, address: &Address) {
        if self.current.hand_over(address) {
            tracing::info!(%address, "another node of the cluster holds the tenant's keys");
        }
    }

    /// The primary may be another one: the next who looks for it asks.
    pub(super) fn doubt(&self) {
        self.suspect.store(true, Ordering::Release);
    }

    /// Something went wrong that another primary would explain: asks, in the background, and again
    /// and again for so long, until there is another one. Of a primary that says nothing any more
    /// nobody else tells.
    pub(super) fn suspect(self: &Arc<Self>, span: Duration) {
        self.doubt();
        let end = Instant::now() + span;
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = asking.is_some();
        *asking = asking.max(Some(end));
        if is_asked {
            return;
        }
        drop(asking);
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            let last = cluster.current.get();
            loop {
                cluster.doubt();
                _ = cluster.find().await;
                let mut asking = cluster
                    .asking
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let is_over = asking.is_none_or(|end| Instant::now() >= end);
                if is_over || cluster.current.get() != last {
                    *asking = None;
                    return;
                }
            }
        });
    }

    /// A connection to the node that the slot is on its connector to, shared by all who need one.
    pub(super) async fn importing(&self, address: &Address) -> Result<Connection, ConnectError> {
        let lock = || {
            self.importing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let open_already = lock().get(address).cloned();
        if let Some(connection) = open_already.filter(|connection| !connection.is_broken()) {
            return Ok(connection);
        }
        let connection = open(&self.connector, address).await?;
        lock().insert(address.clone(), connection.clone());
        Ok(connection)
    }

    /// Who may hold keys of the tenant.
    pub(super) async fn holders(&self) -> Result<Holders, ConnectError> {
        let nodes = self.ask().await?;
        let holder = holder(&nodes, self.slot)
            .ok_or_else(|| ConnectError::passing("no node holds the tenant's slot"))?;
        // Only the holder itself tells that the slot is on its connector.
        let told = nodes_of(&self.connector, &holder.address).await?;
        let itself = told.iter().find(|node| node.id == holder.id);
        let primaries: BTreeSet<_> = nodes
            .iter()
            .filter(|node| node.is_primary && !node.has_failed)
            .map(|node| node.address.clone())
            .collect();
        Ok(Holders {
            primaries: primaries.into_iter().collect(),
            is_moving: itself.is_some_and(|node| node.moving.contains(&self.slot)),
            holder: (holder.address.clone(), holder.epoch),
        })
    }

    /// Asks all nodes and goes by the newest answer, which it gives.
    async fn ask(&self) -> Result<Vec<Node>, ConnectError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let asked: Vec<_> = known().iter().cloned().collect();
        let mut answers: FuturesUnordered<_> = asked
            .iter()
            .map(|address| nodes_of(&self.connector, address))
            .collect();
        let (mut best, mut failure) = (None::<Vec<Node>>, None::<ConnectError>);
        loop {
            let next = match &best {
                None => answers.next().await,
                Some(_) => timeout(FIRST, answers.next()).await.unwrap_or_default(),
            };
            match next {
                None => break,
                Some(Ok(nodes)) => {
                    let newest = |nodes: &Vec<Node>| holder(nodes, self.slot).map(|n| n.epoch);
                    if best
                        .as_ref()
                        .is_none_or(|best| newest(best) < newest(&nodes))
                    {
                        best = Some(nodes);
                    }
                }
                Some(Err(error)) => {
                    if failure
                        .as_ref()
                        .is_none_or(|failure| failure.setting.is_none())
                    {
                        failure = Some(error);
                    }
                }
            }
        }
        let Some(nodes) = best else {
            return Err(failure.unwrap_or_else(|| ConnectError::passing("no node answers")));
        };
        // Nodes that have gone for good are forgotten; the seeds never are.
        *known() = nodes
            .iter()
            .map(|node| &node.address)
            .chain(&self.seeds)
            .cloned()
            .collect();
        let holder = holder(&nodes, self.slot)
            .ok_or_else(|| ConnectError::passing("no node holds the tenant's slot"))?;
        if holder.has_failed {
            let address = &holder.address;
            return Err(ConnectError::passing(format!("{address} has failed")));
        }
        // A node that just gave the slot away still answers what it was sent; one that failed may not.
        let last = self.current.get();
        let is_well = last.is_some_and(|last| {
            let mut nodes = nodes.iter();
            nodes.any(|node| node.address == last.address && node.is_primary && !node.has_failed)
        });
        let switched = if is_well {
            self.current.hand_over(&holder.address)
        } else {
            self.current.switch(&holder.address)
        };
        if switched {
            let (address, epoch) = (&holder.address, holder.epoch);
            tracing::info!(%address, epoch, "this node of the cluster holds the tenant's keys");
        }
        Ok(nodes)
    }
}

fn holder(nodes: &[Node], slot: u16) -> Option<&Node> {
    nodes
        .iter()
        .find(|node| node.is_primary && node.holds(slot))
}

/// What the node at `address` knows of all nodes.
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
            ConnectError::of("redis-url", format!("{address} {NO_NODE}"))
        } else {
            refusal(address, error)
        });
    }
    let text = String::from_redis_value(answer)
        .map_err(|_| ConnectError::passing(format!("{address} gave no known answer")))?;
    Ok(nodes::parse(&text, address))
}
