//! The run that the tests check.

use std::{
    collections::BTreeMap,
    env,
    str::FromStr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use testkit::{
    broker_process::BrokerProcess,
    linearizability::{Operation, Recorder},
    redis_server::RedisServer,
    snapshot::Snapshot,
};
use tokio::task::JoinSet;

use crate::{
    caller::Caller,
    notes::{Histories, Notes},
    rows::{RowName, SESSIONS},
};

/// The prefix of the keys of the default tenant.
pub(crate) const PREFIX: &str = "thv:auth:{default:default}:";

const TASKS: u32 = 64;
const BROKERS: usize = 2;
/// The number of connections to each broker.
const CONNECTIONS: usize = 4;

/// The results of the run.
pub(crate) struct Run {
    pub(crate) histories: BTreeMap<RowName, Vec<Operation>>,
    pub(crate) notes: Notes,
    /// What Redis held at the end of the run.
    pub(crate) snapshot: Snapshot,
    /// The versions that `Get` and `GetAll` returned at the end, for each broker.
    pub(crate) reads: Vec<(Versions, Versions)>,
}

/// The version of each existing row.
pub(crate) type Versions = BTreeMap<RowName, u64>;

/// Returns the run. The first caller starts it, and all callers wait for it.
pub(crate) fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let seed = setting("RACES_SEED").unwrap_or_else(rand::random);
        let span = Duration::from_secs(setting("RACES_SECONDS").unwrap_or(10));
        eprintln!("RACES_SEED={seed}, for {span:?}");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(races(seed, span))
    })
}

async fn races(seed: u64, span: Duration) -> Run {
    let redis = RedisServer::start();
    let rows = RowName::all().map(|row| (row, Recorder::default()));
    let histories: Arc<Histories> = Arc::new(rows.collect());

    let brokers = start_brokers(&redis).await;
    let mut notes = race(&brokers, &histories, seed, span).await;
    for broker in brokers {
        let log = broker.log();
        assert!(
            broker.terminate().success(),
            "a broker failed; its log:\n{log}"
        );
    }

    let brokers = start_brokers(&redis).await;
    let mut reads = Vec::new();
    for (task, broker) in (TASKS..).zip(&brokers) {
        let mut caller = Caller::new(broker.client().await, &histories, task, seed);
        reads.push(caller.read_all().await);
        notes.add(caller.finish());
    }
    let snapshot = Snapshot::take(&mut connect(&redis), PREFIX);
    eprintln!("{} calls", notes.calls);
    Run {
        histories: histories
            .iter()
            .map(|(row, recorder)| (*row, recorder.operations()))
            .collect(),
        notes,
        snapshot,
        reads,
    }
}

/// Lets all callers call through all of the brokers for a while.
async fn race(
    brokers: &[BrokerProcess],
    histories: &Arc<Histories>,
    seed: u64,
    span: Duration,
) -> Notes {
    let mut clients = Vec::new();
    for broker in brokers {
        for _ in 0..CONNECTIONS {
            clients.push(broker.client().await);
        }
    }
    let end = Instant::now() + span;
    let mut callers = JoinSet::new();
    for (task, client) in (0..TASKS).zip(clients.iter().cycle()) {
        callers.spawn(Caller::new(client.clone(), histories, task, seed).run(end));
    }
    let mut notes = Notes::default();
    while let Some(noted) = callers.join_next().await {
        notes.add(noted.unwrap());
    }
    notes
}

async fn start_brokers(redis: &RedisServer) -> Vec<BrokerProcess> {
    let brokers: Vec<_> = (0..BROKERS)
        .map(|_| BrokerProcess::on_redis(&redis.url()))
        .collect();
    for broker in &brokers {
        broker.serving().await;
    }
    brokers
}

impl Caller {
    /// Reads every row with both calls.
    async fn read_all(&mut self) -> (Versions, Versions) {
        let (mut got, mut got_all) = (Versions::new(), Versions::new());
        for row in RowName::all() {
            if let Some(version) = self.get(row).await {
                got.insert(row, version);
            }
        }
        for session in 0..SESSIONS {
            got_all.extend(self.get_all(session).await);
        }
        (got, got_all)
    }
}

fn connect(redis: &RedisServer) -> redis::Connection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_connection().unwrap()
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}
