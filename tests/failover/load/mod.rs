//! A steady load. Two writers write one user's rows for a while, then another user's. Readers read the same rows.
//! All of them use all brokers. Half of the writers and half of the readers have a deadline of 2 s, the others one of
//! 300 ms.
//!
//! Writers must move on to other users: if a row is written again after a switch, it no longer shows a loss.

mod call;
mod reader;
mod writer;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::{broker_process::BrokerProcess, waiting::until};
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use call::deadline_of;
pub(crate) use call::{Answer, Call};

use crate::rows::{Round, RowName};

/// The number of pairs of writers. Both writers of a pair write the rows of the same user.
const PAIRS: u32 = 3;
/// The number of readers of each broker.
const READERS: usize = 3;
/// How long a caller pauses between two calls, on average.
const PAUSE: Duration = Duration::from_millis(8);

/// What all callers of a round share.
pub(crate) struct Shared {
    pub(crate) round: Round,
    clients: Vec<TokenBrokerClient<Channel>>,
    calls: Mutex<Vec<Call>>,
    numbers: AtomicU64,
    /// The number of users that each pair has finished.
    done: Vec<AtomicU32>,
    over: AtomicBool,
}

/// A load that goes on until it is told to end.
pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

impl Load {
    /// Begins to write and read.
    pub(crate) async fn start(round: Round, brokers: &[BrokerProcess]) -> Self {
        let mut clients = Vec::new();
        for broker in brokers {
            clients.push(broker.client().await);
        }
        let shared = Arc::new(Shared {
            round,
            clients,
            calls: Mutex::default(),
            numbers: AtomicU64::new(1),
            done: (0..PAIRS).map(|_| AtomicU32::new(0)).collect(),
            over: AtomicBool::new(false),
        });
        let mut callers = JoinSet::new();
        for pair in 0..PAIRS {
            for writer in 0..2 {
                let deadline = deadline_of(writer);
                callers.spawn(writer::run(Arc::clone(&shared), pair, deadline));
            }
        }
        for broker in 0..brokers.len() {
            for reader in 0..READERS {
                let deadline = deadline_of(broker + reader);
                callers.spawn(reader::run(Arc::clone(&shared), broker, deadline));
            }
        }
        Self { shared, callers }
    }

    /// Waits until each of the first brokers has answered a read and a write that were called after
    /// `since`.
    pub(crate) async fn answers(&self, brokers: usize, since: Instant) {
        self.answers_to(&[false, true], brokers, since).await;
    }

    /// Waits until each of the first brokers has answered a read that was called after `since`.
    pub(crate) async fn reads(&self, brokers: usize, since: Instant) {
        self.answers_to(&[false], brokers, since).await;
    }

    async fn answers_to(&self, writes: &[bool], brokers: usize, since: Instant) {
        let has_answered = |broker: usize, writes: bool| {
            let calls = self.shared.calls.lock().unwrap();
            calls.iter().rev().any(|call| {
                call.broker == broker
                    && call.is_write() == writes
                    && call.is_done()
                    && call.called >= since
            })
        };
        until("the brokers answer", async || {
            (0..brokers).all(|broker| writes.iter().all(|writes| has_answered(broker, *writes)))
        })
        .await;
    }

    /// Ends the load once each caller has its answer. Returns all calls.
    pub(crate) async fn end(mut self) -> Calls {
        self.shared.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        let calls = std::mem::take(&mut *self.shared.calls.lock().unwrap());
        Calls {
            shared: self.shared,
            calls,
        }
    }
}

/// All calls of a round.
pub(crate) struct Calls {
    shared: Arc<Shared>,
    pub(crate) calls: Vec<Call>,
}

impl Calls {
    pub(crate) fn round(&self) -> &Round {
        &self.shared.round
    }

    /// Returns all rows that were written.
    pub(crate) fn rows(&self) -> BTreeSet<RowName> {
        let writes = self.calls.iter().flat_map(|call| &call.writes);
        writes.map(|(row, _)| *row).collect()
    }

    /// Reads every row through every broker.
    pub(crate) async fn read_all(&self) -> Vec<Call> {
        for broker in 0..self.shared.clients.len() {
            for row in self.rows() {
                reader::get(&self.shared, broker, row, deadline_of(0)).await;
            }
        }
        std::mem::take(&mut *self.shared.calls.lock().unwrap())
    }
}

impl Shared {
    fn client(&self, broker: usize) -> TokenBrokerClient<Channel> {
        self.clients[broker].clone()
    }

    /// Pauses, and returns whether to continue.
    async fn goes_on(&self, dice: &mut StdRng) -> bool {
        tokio::time::sleep(PAUSE.mul_f64(dice.random_range(0.5..1.5))).await;
        !self.over.load(Ordering::Relaxed)
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

fn dice() -> StdRng {
    StdRng::seed_from_u64(rand::random())
}

/// The current time, for readers that check when a call was made.
fn now() -> Instant {
    Instant::now()
}
