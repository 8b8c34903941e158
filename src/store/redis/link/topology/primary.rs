//! One primary during one term, and the connections to it.
//!
//! All connections of a term lead to one process of Redis. The address alone doesn't tell that: a name may move to
//! another server, and the last one may go on as a primary.

use std::{
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    store::redis::{
        Address,
        link::{connections::Connections, wire::ConnectionState},
    },
    types::lock,
};

/// How long a term lasts at least while its connections work. Where two primaries are behind one address, all
/// connections of a term come to lead to one of them within this time.
const SHORTEST: Duration = Duration::from_millis(500);

/// A server that is known as the primary of some slots, and the connections to it.
#[derive(Debug)]
pub struct Primary {
    /// The server's address.
    pub address: Address,
    /// Differs each time that the server becomes the primary, and after each of its starts.
    pub term: u64,
    /// The id of the node of a cluster, once it is known.
    id: OnceLock<String>,
    /// The pools of connections to it. They are made when they are first used.
    pub connections: OnceLock<Connections>,
    reached: Mutex<Reached>,
    /// Whether the server is no longer the primary.
    is_over: watch::Sender<bool>,
    /// Whether the other nodes of the cluster can't reach it.
    has_failed: AtomicBool,
}

/// The server that the connections of a term lead to.
#[derive(Debug, Default)]
struct Reached {
    /// The id of the server's process, and when it was first reached.
    process: Option<(String, Instant)>,
    /// The connections that have to end when the term does.
    states: Vec<Weak<ConnectionState>>,
}

/// What becomes of a new connection to a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// It is one of the term's connections.
    Adopted,
    /// The term is over.
    Late,
    /// It leads to another process than the term's connections. Those work, and the term has only begun.
    Astray,
    /// It leads to another process than the term's connections, and the term has to end.
    Followed,
}

/// What becomes of the connections to a server that is no longer a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The connections end at once. The server may not know that another one followed it, and may go on
    /// answering.
    Now,
    /// The connections get no new requests. The server knows that another one followed it, so it may still
    /// answer earlier requests.
    WhenAnswered,
}

impl Primary {
    /// Returns the server at `address`, not reached yet.
    pub(super) fn new(address: Address, term: u64) -> Self {
        Self {
            address,
            term,
            id: OnceLock::new(),
            connections: OnceLock::new(),
            reached: Mutex::default(),
            is_over: watch::Sender::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Returns the same primary in another term, not reached yet.
    pub(super) fn again(&self, term: u64) -> Self {
        let again = Self::new(self.address.clone(), term);
        if let Some(id) = self.id() {
            again.set_id(id);
        }
        again.set_failed(self.has_failed());
        again
    }

    /// Takes over a connection to the process with this run id, which ends when the server is no longer the primary.
    pub fn adopt(&self, state: &Arc<ConnectionState>, run_id: &str) -> Adoption {
        let mut reached = lock(&self.reached);
        if self.is_over() {
            return Adoption::Late;
        }
        match &reached.process {
            // What only poses as Redis may name no id.
            Some((known, since)) if known != run_id && !run_id.is_empty() => {
                let works = |state: Arc<ConnectionState>| !state.life().is_over();
                let mut states = reached.states.iter().filter_map(Weak::upgrade);
                return match states.any(works) && since.elapsed() < SHORTEST {
                    true => Adoption::Astray,
                    false => Adoption::Followed,
                };
            }
            None if !run_id.is_empty() => {
                reached.process = Some((run_id.to_owned(), Instant::now()));
            }
            _ => {}
        }
        reached.states.retain(|state| state.strong_count() > 0);
        reached.states.push(Arc::downgrade(state));
        Adoption::Adopted
    }

    /// Returns the id of the process that the connections lead to, if there was one.
    pub fn run_id(&self) -> Option<String> {
        let reached = lock(&self.reached);
        reached.process.as_ref().map(|(run_id, _)| run_id.clone())
    }

    /// Waits until the server is no longer the primary.
    pub async fn over(&self) {
        // The sender lives as long as `self`.
        _ = self.is_over.subscribe().wait_for(|&is_over| is_over).await;
    }

    /// Whether the server is no longer the primary.
    pub fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    /// Returns the id of the node, if this is a node of a cluster and its id is known.
    pub fn id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// Sets the id of the node, if it isn't known yet.
    pub(super) fn set_id(&self, id: &str) {
        self.id.get_or_init(|| id.to_owned());
    }

    /// Whether the other nodes of the cluster can't reach it.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Says whether the other nodes of the cluster can't reach it. Returns what was said last.
    pub(super) fn set_failed(&self, has_failed: bool) -> bool {
        self.has_failed.swap(has_failed, Ordering::Relaxed)
    }

    /// Ends the term.
    pub(super) fn leave(&self, how: Leave) {
        let states = {
            let mut reached = lock(&self.reached);
            self.is_over.send_replace(true);
            std::mem::take(&mut reached.states)
        };
        for state in states.iter().filter_map(Weak::upgrade) {
            match how {
                Leave::Now => state.end(),
                Leave::WhenAnswered => state.retire(),
            }
        }
    }
}
