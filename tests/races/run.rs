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
    linearizability::{Condition, Operation, Recorder},
    redis_server::RedisServer,
    resp_proxy::{Fate, RespProxy},
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
/// If answers get lost, how many writes there are for each connection that ends before one, or after one.
const ONE_IN: u32 = 400;

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
    RUN.get_or_init(|| start(setting("RACES_SECONDS").unwrap_or(10), false))
}

/// Returns a run in which connections to Redis end all the time, so that answers get lost.
pub(crate) fn run_with_lost_answers() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    // It takes its turn after the other run.
    let before = run().histories.len();
    assert!(before > 0);
    RUN.get_or_init(|| {
        let seconds = setting("RACES_LOST_SECONDS").unwrap_or(3);
        let mut run = start(seconds, true);
        for times in [3, 9] {
            let mut failures = run.notes.failures.keys();
            if failures.any(|how| how.contains("OUTCOME_UNKNOWN")) {
                break;
            }
            // On a machine under load there are too few calls.
            run = start(times * seconds, true);
        }
        run
    })
}

fn start(seconds: u64, loses_answers: bool) -> Run {
    let seed = setting("RACES_SEED").unwrap_or_else(rand::random);
    eprintln!("RACES_SEED={seed}, for {seconds} s");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(races(seed, Duration::from_secs(seconds), loses_answers))
}

async fn races(seed: u64, span: Duration, loses_answers: bool) -> Run {
    let redis = RedisServer::start();
    let proxy = RespProxy::start(redis.port(), move |command| async move {
        let is_call = command.name() == "EVALSHA";
        match rand::random_range(0..ONE_IN) {
            0 if is_call && loses_answers => Fate::DropBefore,
            1 if is_call && loses_answers => Fate::DropAfter,
            _ => Fate::Forward,
        }
    })
    .await;
    let url = match loses_answers {
        true => format!("redis://127.0.0.1:{}", proxy.port()),
        false => redis.url(),
    };
    let rows = RowName::all().map(|row| (row, Recorder::default()));
    let histories: Arc<Histories> = Arc::new(rows.collect());

    let brokers = start_brokers(&url).await;
    let mut notes = race(&brokers, &histories, seed, span).await;
    for broker in brokers {
        let ended = broker.ended().await;
        assert!(ended.success(), "a broker failed; its log:\n{}", ended.log);
    }

    let brokers = start_brokers(&redis.url()).await;
    let mut reads = Vec::new();
    for (task, broker) in (TASKS..).zip(&brokers) {
        let mut caller = Caller::new(broker.client().await, &histories, task, seed);
        // Something has to be left to compare and to damage.
        if task == TASKS {
            for row in RowName::of_session(0) {
                caller.store(row, Condition::Always, false).await;
            }
        }
        reads.push(caller.read_all().await);
        notes.add(caller.finish());
    }
    let snapshot = Snapshot::take(&mut connect(&redis), PREFIX);
    eprintln!("{} calls, {:#?}", notes.calls, notes.failures);
    let contents = notes.contents.iter();
    let versions = contents.map(|(version, attempt)| (attempt.id(), *version));
    let versions = versions.collect();
    for history in histories.values() {
        history.learn(&versions);
    }
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

async fn start_brokers(redis: &str) -> Vec<BrokerProcess> {
    let brokers: Vec<_> = (0..BROKERS)
        .map(|_| {
            // Redis may stand still for a moment, on a machine under load.
            let patient = ["--redis-timeout=5s", "--redis-connect-timeout=5s"];
            let args = ["--backend", "redis", "--redis-url", redis];
            BrokerProcess::start(&[&args[..], &patient].concat())
        })
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
