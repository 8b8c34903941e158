//! Certificate, key, authorities and policy are swapped again and again under a steady load. `RELOADS=full` is the long form:
//! 5,000 calls/s for some minutes, with figures. It wants a release build and a quiet machine.

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use testkit::{
    authority::{Authority, Wanted},
    waiting::until,
};
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::rustls::ClientConfig;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{
    broker::{Broker, Files, request, served},
    raw::Seen,
};

/// The connections that must stay, and how many callers share each.
const CONNECTIONS: usize = 8;
const CALLERS: usize = 8;
/// How long a call may go on whose caller may not call any more.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// How late a machine that others use may be with anything.
const LATE: Duration = Duration::from_secs(2);

/// How much of everything.
struct Sizes {
    is_full: bool,
    calls_per_second: usize,
    swaps: usize,
    /// How long each state is in force.
    between: Duration,
}

fn sizes() -> Sizes {
    let is_full = env::var("RELOADS").is_ok_and(|value| value == "full");
    Sizes {
        is_full,
        calls_per_second: if is_full { 5_000 } else { 400 },
        swaps: if is_full { 60 } else { 3 },
        between: Duration::from_millis(if is_full { 2_000 } else { 200 }),
    }
}

/// Callers that must be served all the time.
struct Keepers {
    over: Arc<AtomicBool>,
    connects: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<Duration>>>,
}

impl Keepers {
    async fn begin(broker: &Broker, calls_per_second: usize) -> Self {
        let (over, connects) = (Arc::default(), Arc::default());
        let config = broker.config(Some(&broker.good()));
        let every = Duration::from_secs(1) * (CONNECTIONS * CALLERS) as u32;
        let every = every / calls_per_second as u32;
        let mut keepers = Self {
            over,
            connects,
            tasks: Vec::new(),
        };
        for _ in 0..CONNECTIONS {
            let client = connect(broker, &config, &keepers.connects).await;
            for _ in 0..CALLERS {
                let over = Arc::clone(&keepers.over);
                let calls = steadily(client.clone(), every, over);
                keepers.tasks.push(tokio::spawn(calls));
            }
        }
        keepers
    }

    /// Ends the calls, and returns how long each took, the shortest first.
    async fn end(self) -> Vec<Duration> {
        self.over.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        for task in self.tasks {
            took.extend(task.await.unwrap());
        }
        let connects = self.connects.load(Ordering::Relaxed);
        assert_eq!(connects, CONNECTIONS, "a connection didn't stay");
        took.sort_unstable();
        took
    }
}

/// Calls at this interval. No call may fail. The time of a call counts from when it was to begin.
async fn steadily(
    mut client: TokenBrokerClient<Channel>,
    every: Duration,
    over: Arc<AtomicBool>,
) -> Vec<Duration> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = ticks.tick().await;
        served(client.get(request()).await.map(drop)).unwrap();
        took.push(begun.elapsed());
    }
    took
}

/// Connects, and counts each connection that is made.
async fn connect(
    broker: &Broker,
    config: &Arc<ClientConfig>,
    connects: &Arc<AtomicUsize>,
) -> TokenBrokerClient<Channel> {
    let address = broker.process.address();
    let (config, connects) = (Arc::clone(config), Arc::clone(connects));
    let connector = service_fn(move |_| {
        let config = Arc::clone(&config);
        connects.fetch_add(1, Ordering::Relaxed);
        async move {
            let stream = crate::broker::stream(address, config).await?;
            // Otherwise a call waits until the broker has acknowledged the one before, which takes 40 ms.
            stream.get_ref().0.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://broker");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    TokenBrokerClient::new(channel)
}

/// Returns a policy that knows the keepers, and the other caller in every second generation.
fn policy(knows_other: bool) -> String {
    let caller = |name: &str, known: &str| {
        format!("[callers.{name}]\n{known}\nroles = [\"auth-server\"]\nproviders = \"*\"\n")
    };
    let mut text = caller("keeper", "dns-names = [\"caller.test\"]");
    text += &caller("guest", "spiffe-ids = [\"spiffe://test.test/a\"]");
    if knows_other {
        text += &caller("other", "dns-names = [\"other.test\"]");
    }
    text
}

/// What is swapped: everything that a broker reads of callers.
struct World {
    broker: Broker,
    policy: Files,
    /// Two authorities of one trust domain, one of which is in force.
    guests: [Authority; 2],
    generation: usize,
}

impl World {
    async fn start() -> Self {
        let guests = ["first", "second"].map(Authority::new);
        let files = Files::new(|dir| fs::write(dir.join("policy.toml"), policy(true)).unwrap());
        let path = files.path("policy.toml");
        let args = ["--policy", &path, "--call-timeout", "1s"];
        Self {
            broker: Broker::with_domains(&[("test.test", &guests[0])], &args).await,
            policy: files,
            guests,
            generation: 0,
        }
    }

    /// Swaps all files, and waits until they are in force.
    async fn swap(&mut self) {
        self.generation += 1;
        let Broker {
            files,
            authority,
            clients,
            process,
            ..
        } = &mut self.broker;
        let guests = &self.guests[self.generation % 2];
        files.swap(|dir| {
            authority.sign(&Wanted::server()).write_to(dir, "server");
            fs::write(dir.join("clients.pem"), &clients.pem).unwrap();
            fs::write(dir.join("test.test.pem"), &guests.pem).unwrap();
        });
        let text = policy(self.generation.is_multiple_of(2));
        self.policy
            .swap(|dir| fs::write(dir.join("policy.toml"), text).unwrap());
        // Every second time the broker is told. Otherwise it looks by itself.
        if self.generation.is_multiple_of(2) {
            process.signal("HUP");
        }
        let told = [
            "the new ones are in force",
            "the policy was read again, and is in force",
        ];
        until("the files are in force", || async {
            let log = process.log();
            told.iter()
                .all(|told| log.matches(told).count() == self.generation)
        })
        .await;
    }

    /// Returns how a guest connects whom the authority vouches for that is in force.
    fn guest(&self) -> Arc<ClientConfig> {
        let wanted = Wanted::nobody().uri("spiffe://test.test/a");
        let identity = self.guests[self.generation % 2].sign(&wanted);
        self.broker.config(Some(&identity))
    }
}

/// Who ends with its connection, or isn't known any more, is served until the files are in force that say so, and not later; all
/// others are served all the time, over the connections that they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_load_while_everything_is_swapped() {
    let sizes = sizes();
    let mut world = World::start().await;
    let other = world
        .broker
        .clients
        .sign(&Wanted::nobody().dns_name("other.test"));
    let other = world.broker.config(Some(&other));
    let mut other = world.broker.client(other).await.unwrap();
    let keepers = Keepers::begin(&world.broker, sizes.calls_per_second).await;
    let begun = Instant::now();
    let mut latest_end = Duration::ZERO;
    for _ in 0..sizes.swaps {
        let guest = world.guest();
        let silent = world.broker.heedless(Arc::clone(&guest)).await;
        let silent = tokio::spawn(silent.stay(Duration::from_secs(60)));
        let mut guest = world.broker.client(guest).await.unwrap();
        served(guest.get(request()).await.map(drop)).unwrap();
        tokio::time::sleep(sizes.between).await;

        world.swap().await;
        let swapped = Instant::now();
        let answer = other.get(request()).await.map(drop);
        is_as_the_policy_says(answer, world.generation.is_multiple_of(2));
        // It was told to go, and the next connection is refused.
        until("the guest isn't served", || {
            let mut guest = guest.clone();
            async move { served(guest.get(request()).await.map(drop)).is_err() }
        })
        .await;
        let not_served = swapped.elapsed();
        assert!(not_served < LATE, "{not_served:?}");
        let Seen { told, ended } = silent.await.unwrap();
        let (told, ended) = (told.unwrap(), ended.unwrap());
        let lasted = ended.saturating_duration_since(swapped);
        assert!(told <= ended && lasted < CALL_TIMEOUT + LATE, "{lasted:?}");
        latest_end = latest_end.max(lasted);
    }
    let span = begun.elapsed();
    let took = keepers.end().await;
    let rate = took.len() as f64 / span.as_secs_f64();
    let at = |of_a_thousand: usize| took[(took.len() - 1) * of_a_thousand / 1000];
    println!(
        "{} swaps, {} calls over {CONNECTIONS} connections ({rate:.0} calls/s), none failed: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, \
         at most {:.1?}. The last connection of a client that lost its right ended {latest_end:.1?} after that",
        sizes.swaps,
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
    );
    let log = world.broker.process.log();
    assert!(!log.contains("can't be used"), "{log}");
    if sizes.is_full {
        // Otherwise it isn't the load that the figures are about. The short form is for busy machines.
        let wanted = sizes.calls_per_second as f64;
        assert!(
            rate > 0.95 * wanted,
            "{rate:.0} calls/s came about of {wanted}"
        );
    }
}

/// Panics unless the other caller is answered as the policy in force says.
fn is_as_the_policy_says(answer: Result<(), Status>, is_known: bool) {
    match is_known {
        true => served(answer).unwrap(),
        false => assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated),
    }
}
