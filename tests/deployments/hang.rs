//! A primary hangs. Callers are served again as soon as its replica has taken over, however short their deadlines
//! are.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use testkit::{
    broker::{Broker, request, rules},
    cluster::{self, Cluster, slot},
    redis_tenant::RedisTenant,
    rows::*,
    sentinel::{self, Sentinels},
    waiting::found_within,
};
use token_broker::tokens::Binding;
use tokio::{sync::watch, task::JoinSet};

/// How long a failover may take. An election may have to be repeated.
const FAILOVER: Duration = Duration::from_secs(60);
/// How long after the promotion all callers are served again at the latest. It takes about a second, and longer on a busy
/// machine. A broker that notices nothing because its calls are too short never serves them.
const LATE: Duration = Duration::from_secs(15);
/// For how long no call may fail then.
const CALM: Duration = Duration::from_millis(700);
/// The deadlines of the callers.
const DEADLINES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(5),
];

/// Callers that read again and again, each with a broker of its own.
struct Callers {
    /// They call until this is dropped.
    _calls: JoinSet<()>,
    served: Vec<Arc<Mutex<Served>>>,
}

/// The calls of a caller since the last one that failed: when the first of them began, and the last one.
type Served = Option<(Instant, Instant)>;

impl Callers {
    /// Stores a row, waits until a replica has it, and starts the callers.
    async fn start(tenant: &RedisTenant) -> Self {
        let broker = || {
            let store = tenant.store_with(Duration::from_secs(1));
            Broker::new(store, rules(tenant.name().clone()))
        };
        let (key, all) = (key("s", "p"), Binding::default());
        let mut raw = tenant.raw();
        broker().put(&key, &row("u", "at")).await;
        redis::cmd("SET")
            .arg(tenant.key("mark"))
            .arg(1)
            .exec(&mut raw)
            .unwrap();
        let wait = redis::cmd("WAIT").arg(1).arg(5_000).to_owned();
        assert!(wait.query::<u32>(&mut raw).unwrap() > 0);

        let (mut calls, mut served) = (JoinSet::new(), Vec::new());
        for deadline in DEADLINES {
            let (broker, key, all) = (broker(), key.clone(), all.clone());
            let own = Arc::<Mutex<Served>>::default();
            served.push(Arc::clone(&own));
            broker.get(&key, &all).await.unwrap();
            calls.spawn(async move {
                loop {
                    let begun = Instant::now();
                    let call = tokio::time::timeout(deadline, broker.get(&key, &all)).await;
                    {
                        let mut own = own.lock().unwrap();
                        let first = own.map_or(begun, |(first, _)| first);
                        *own = matches!(call, Ok(Ok(_))).then_some((first, begun));
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
        Self {
            _calls: calls,
            served,
        }
    }

    /// Waits until no call of any caller fails any more. The promotion has just been seen.
    async fn are_served(self) {
        let promoted = Instant::now();
        let is_calm = |served: &Arc<Mutex<Served>>| {
            // A call that began before the promotion, and waited for it, tells nothing.
            let calm = |(first, last): (Instant, Instant)| last > first.max(promoted) + CALM;
            served.lock().unwrap().is_some_and(calm)
        };
        for (deadline, served) in DEADLINES.iter().zip(&self.served) {
            let what = format!("callers with {deadline:?} are served");
            let left = LATE.saturating_sub(promoted.elapsed());
            found_within(left, &what, || is_calm(served).then_some(())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_any_patience_follow_a_new_primary_of_a_cluster() {
    let cluster = Cluster::start(&cluster::Options::default());
    cluster.settled().await;
    let tenant = RedisTenant::on(&cluster);
    let primary = cluster.owner_of(slot(&tenant.prefix())).unwrap();
    let says = |node: usize, what: &str| {
        let info = cluster.nodes[node].ask::<String>(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains(what))
    };
    let follows = format!("master_port:{}\r", cluster.port(primary));
    let mut nodes = 0..cluster.nodes.len();
    let replica = nodes.find(|node| says(*node, &follows)).unwrap();

    let callers = Callers::start(&tenant).await;
    cluster.nodes[primary].pause();
    found_within(FAILOVER, "the replica takes over", || {
        says(replica, "role:master").then_some(())
    })
    .await;
    callers.are_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_any_patience_follow_the_sentinels() {
    let sentinels = Sentinels::start(&sentinel::Options::default());
    let primary = sentinels.settled().await;
    let tenant = RedisTenant::on(&sentinels);
    let callers = Callers::start(&tenant).await;
    sentinels.servers[primary].pause();
    sentinels.successor_of(primary).await;
    callers.are_served().await;
}

/// How long a thread may be kept busy at most.
const BUSY: Duration = Duration::from_secs(1);

/// Writes that wait for replicas have connections of their own. When another server takes over, nothing spins that
/// waits for a connection to the old primary: it would keep the threads from all other work.
#[tokio::test(flavor = "multi_thread")]
async fn no_thread_is_kept_busy_when_another_server_takes_over_from_writes_that_wait() {
    let sentinels = Sentinels::start(&sentinel::Options::default());
    let primary = sentinels.settled().await;
    let tenant = RedisTenant::on(&sentinels).with("durability", "replicated");
    let broker = tenant.broker();
    let mut callers = JoinSet::new();
    for number in 0..24 {
        let (broker, key) = (broker.clone(), key(&format!("s{number}"), "p"));
        callers.spawn(async move {
            loop {
                let stored = broker.store(request(&key, &row("u", "at")));
                _ = tokio::time::timeout(Duration::from_secs(2), stored).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    // What a thread without tasks measures is the machine's.
    let (over, is_over) = mpsc::channel::<()>();
    let of_machine = thread::spawn(move || {
        let mut longest = Duration::ZERO;
        loop {
            let begun = Instant::now();
            let told = is_over.recv_timeout(Duration::from_millis(10));
            longest = longest.max(begun.elapsed());
            if told != Err(RecvTimeoutError::Timeout) {
                return longest;
            }
        }
    });
    let (longest, seen) = watch::channel(Duration::ZERO);
    callers.spawn(async move {
        loop {
            let begun = Instant::now();
            tokio::time::sleep(Duration::from_millis(10)).await;
            longest.send_if_modified(|longest| {
                let is_longer = begun.elapsed() > *longest;
                *longest = begun.elapsed().max(*longest);
                is_longer
            });
        }
    });
    sentinels.servers[primary].pause();
    sentinels.successor_of(primary).await;
    let promoted = Instant::now();
    tokio::time::sleep_until((promoted + 3 * BUSY).into()).await;
    let longest = *seen.borrow();
    drop(over);
    let of_machine = of_machine.join().unwrap();
    assert!(
        longest < BUSY + of_machine,
        "a pause of 10 ms took {longest:?}, and {of_machine:?} of a thread without tasks"
    );
}
