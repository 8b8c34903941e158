//! Runs many callers, each with one call at a time, for a while.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    rows::{self, Key, PROVIDERS, SESSIONS},
    setup::{Client, Options, Setup},
};

pub(crate) const CALLERS: usize = 64;

/// The method that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    GetAll,
    Store,
}

/// The figures of a round.
#[derive(Debug)]
pub(crate) struct Round {
    /// How long each call took, shortest first.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) took: Duration,
    /// The CPU time per call of each process.
    pub(crate) cpu: Vec<(&'static str, Duration)>,
}

/// Measures the rounds of a call. The round that warms up isn't returned.
pub(crate) async fn rounds(setup: &Setup, call: Call, options: &Options) -> Vec<Round> {
    let mut rounds = Vec::new();
    for nth in 0..=options.rounds {
        let measured = round(setup, call, options.span, nth as u64).await;
        if nth > 0 {
            rounds.push(measured);
        }
    }
    rounds
}

async fn round(setup: &Setup, call: Call, span: Duration, seed: u64) -> Round {
    let used: Vec<_> = setup
        .processes
        .iter()
        .map(|process| process.used())
        .collect();
    let started = Instant::now();
    let end = started + span;
    let mut callers = JoinSet::new();
    for (caller, client) in (0..CALLERS).zip(setup.clients.iter().cycle()) {
        let mut client = client.clone();
        let mut dice = StdRng::seed_from_u64(seed << 32 | caller as u64);
        callers.spawn(async move {
            let mut latencies = Vec::with_capacity(16 * 1024);
            loop {
                let begun = Instant::now();
                if begun >= end {
                    return latencies;
                }
                call.make(&mut client, &mut dice).await;
                latencies.push(begun.elapsed());
            }
        });
    }
    let mut latencies = callers.join_all().await.concat();
    let took = started.elapsed();
    let calls = u32::try_from(latencies.len()).unwrap();
    let cpu = setup.processes.iter().zip(used);
    let cpu = cpu.map(|(process, before)| (process.name, (process.used() - before) / calls));
    latencies.sort_unstable();
    Round {
        latencies,
        took,
        cpu: cpu.collect(),
    }
}

impl Call {
    async fn make(self, client: &mut Client, dice: &mut StdRng) {
        let row = Key {
            session: dice.random_range(0..SESSIONS),
            provider: dice.random_range(0..PROVIDERS),
        };
        match self {
            Self::Get => {
                let answer = client.get(rows::get(row)).await.unwrap().into_inner();
                assert!(answer.entry.is_some());
            }
            Self::GetAll => {
                let answer = client.get_all(rows::get_all(row.session)).await.unwrap();
                assert_eq!(answer.into_inner().entries.len(), PROVIDERS as usize);
            }
            Self::Store => drop(client.store(rows::store(row)).await.unwrap()),
        }
    }
}

impl Round {
    pub(crate) fn calls_a_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }
}

/// Does `work` for each of the items, with all clients and for many items at once.
pub(crate) async fn each<T: Clone + Send + 'static, F>(
    clients: &[Client],
    items: Vec<T>,
    work: impl Fn(Client, T) -> F + Copy + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let mut workers = JoinSet::new();
    let share = items.len().div_ceil(CALLERS);
    for (items, client) in items.chunks(share).zip(clients.iter().cycle()) {
        let (items, client) = (items.to_vec(), client.clone());
        workers.spawn(async move {
            for item in items {
                work(client.clone(), item).await;
            }
        });
    }
    workers.join_all().await;
}
