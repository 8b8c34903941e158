//! Strangers who want to hold the doors shut: they take all connections of a listener, hold each in some way, and come
//! again as soon as it is closed. Callers and probes get in nevertheless.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use testkit::{broker_process::BrokerProcess, waiting::until};
use token_broker::proto::v1::{GetRequest, token_broker_client::TokenBrokerClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::service_fn;

use crate::{
    raw::{DATA, END_STREAM, PREFACE, Raw, SETTINGS, frame},
    standstill,
    target::{SMALL, get},
};

pub const TOKEN: &str = "the-token-of-a-caller";
/// The token of another caller, which somebody has stolen.
pub const STOLEN: &str = "the-token-of-another-caller";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub const CHECK: &str = "/grpc.health.v1.Health/Check";

/// How long a caller waits for its connection and its first call: less than half-sent calls may last.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the kubelet waits for a probe, unless it is told otherwise.
const PROBE: Duration = Duration::from_secs(1);
/// How often in a row it misses an answer before it acts, unless it is told otherwise.
const MISSES: usize = 3;
/// How many probes and watches a connection may have at once.
const STREAMS: usize = 16;
/// How often strangers look whether their connection is closed.
pub const LOOK: Duration = Duration::from_millis(20);

/// What strangers do with a connection.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// They say nothing.
    Silent,
    /// They send headers of HTTP/1 without end.
    SlowHeaders,
    /// They watch the health, as often as a connection may.
    Watches,
    /// They ask for the health, as often as a connection may, and don't send the whole of any request.
    HalfSentChecks,
    /// They watch again for each watch that ends.
    WatchesAgain,
    /// They ask again for each answer.
    HalfSentChecksAgain,
    /// They call without credentials, again and again.
    RefusedCalls,
}

/// Strangers at work until this is dropped.
struct Strangers {
    /// How often they have connected.
    came: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Strangers {
    /// Sends `many` of them, who hold connections in these ways by turns.
    fn send(many: usize, address: SocketAddr, holds: &'static [Hold]) -> Self {
        let (came, mut tasks) = (Arc::<AtomicUsize>::default(), JoinSet::new());
        for number in 0..many {
            let (came, hold) = (Arc::clone(&came), holds[number % holds.len()]);
            tasks.spawn(async move {
                loop {
                    // An error is the end of a connection, too.
                    held(address, hold, &came).await.ok();
                    tokio::task::yield_now().await;
                }
            });
        }
        Self {
            came,
            _tasks: tasks,
        }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }

    /// Waits until this many have connected.
    async fn have_come(&self, many: usize) {
        until("the strangers are there", || async { self.came() >= many }).await;
    }
}

/// Holds one connection until it is closed.
async fn held(address: SocketAddr, hold: Hold, came: &AtomicUsize) -> std::io::Result<()> {
    if let Hold::Silent | Hold::SlowHeaders = hold {
        let mut stream = TcpStream::connect(address).await?;
        came.fetch_add(1, Ordering::Relaxed);
        if let Hold::SlowHeaders = hold {
            stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").await?;
            let mut answer = [0; 64];
            while timeout(LOOK, stream.read(&mut answer)).await.is_err() {
                stream.write_all(b"x").await?;
            }
        }
        return stream.read_to_end(&mut Vec::new()).await.map(drop);
    }
    let mut raw = Raw::connect(address, &[]).await?.reading();
    came.fetch_add(1, Ordering::Relaxed);
    let mut opened = 0;
    while !raw.is_closed() {
        let ended = match hold {
            Hold::WatchesAgain | Hold::HalfSentChecksAgain => raw.ended(),
            _ => 0,
        };
        while opened < ended + STREAMS {
            opened += 1;
            match hold {
                Hold::Watches | Hold::WatchesAgain => {
                    let stream = raw.open(WATCH).await?;
                    raw.frame(DATA, END_STREAM, stream, &[0; 5]).await?;
                }
                Hold::HalfSentChecks | Hold::HalfSentChecksAgain => {
                    let stream = raw.open(CHECK).await?;
                    raw.frame(DATA, 0, stream, &[0; 2]).await?;
                }
                _ => {}
            }
        }
        sleep(LOOK).await;
        if let Hold::RefusedCalls = hold {
            raw.call("Get", &get(SMALL, "p")).await?;
        }
    }
    Ok(())
}

/// A broker that knows two callers.
pub struct Known {
    pub broker: BrokerProcess,
    _dir: TempDir,
}

impl Known {
    async fn start(args: &[&str]) -> Self {
        let all = [&["--backend", "memory"], args].concat();
        Self::start_as(["auth-server"; 2], &all).await
    }

    /// Starts a broker for which the two callers have these roles.
    pub async fn start_as(roles: [&str; 2], args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        let caller = |(name, token, role): (&str, &str, &str)| {
            let hash: String = Sha256::digest(token)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!(
                "[callers.{name}]\nbearer-sha256 = [\"{hash}\"]\nroles = [\"{role}\"]\nproviders = \"*\"\n"
            )
        };
        let [one, other] = roles;
        let callers = [("one", TOKEN, one), ("other", STOLEN, other)];
        let policy = callers.map(caller).concat();
        fs::write(&path, policy).unwrap();
        let all = ["--policy", path.to_str().unwrap()];
        let broker = BrokerProcess::start(&[&all[..], args].concat());
        broker.serving().await;
        Self { broker, _dir: dir }
    }
}

/// Returns a client that counts how often it connects.
fn counting(address: SocketAddr) -> (Channel, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let connect = service_fn(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { TcpStream::connect(address).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://broker");
    (endpoint.connect_with_connector_lazy(connect), count)
}

/// Calls as a caller that the broker knows. The row isn't there.
async fn call(client: &mut TokenBrokerClient<Channel>) {
    assert_eq!(called(client).await, Code::NotFound);
}

async fn called(client: &mut TokenBrokerClient<Channel>) -> Code {
    let answer = timeout(PATIENCE, client.get(request(TOKEN))).await;
    let answer = answer.expect("the caller gets in");
    answer.unwrap_err().code()
}

/// Returns a client that has called as a caller that the broker knows, and how often it has connected.
async fn caller(address: SocketAddr) -> (TokenBrokerClient<Channel>, Arc<AtomicUsize>) {
    tokio::spawn(standstill::watch());
    loop {
        let (channel, connections) = counting(address);
        let mut client = TokenBrokerClient::new(channel);
        let code = called(&mut client).await;
        if code == Code::NotFound && connections.load(Ordering::Relaxed) == 1 {
            return (client, connections);
        }
        // One that stands still before its first call is taken for a stranger.
        assert!(standstill::was_lately().await, "{code:?}, {connections:?}");
    }
}

/// Returns a call of the caller that has this token.
fn request(token: &str) -> Request<GetRequest> {
    let mut request = Request::new(get(SMALL, "p"));
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// Makes a request as the kubelet does, which asks again if there is no answer in time.
async fn probe<T, F>(asked: impl Fn() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    for _ in 0..MISSES {
        if let Ok(answer) = timeout(PROBE, asked()).await {
            return answer;
        }
    }
    Err("no answer in time".to_owned())
}

/// Asks for the health over a new connection, as the kubelet does.
async fn check(address: SocketAddr) -> Result<(), String> {
    let asked = async || {
        let channel = counting(address).0;
        let request = HealthCheckRequest {
            service: "liveness".to_owned(),
        };
        let answer = HealthClient::new(channel).check(request).await;
        answer.map(drop).map_err(|status| format!("{status:?}"))
    };
    probe(asked).await
}

/// Asks for a page over a new connection.
async fn page(address: SocketAddr, path: &str) -> Result<(), String> {
    let asked = async || {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    let asked = async || match asked().await {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    probe(asked).await
}

/// All places are held by strangers who watch the health, or whose calls are refused. A caller gets in, and keeps its
/// connection while they go on.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_make_room_for_a_caller() {
    const HOLDS: &[Hold] = &[Hold::Watches, Hold::RefusedCalls, Hold::HalfSentChecks];
    let known = Known::start(&["--max-connections", "8"]).await;
    let address = known.broker.address();
    let strangers = Strangers::send(12, address, HOLDS);
    strangers.have_come(12).await;
    let (mut client, connections) = caller(address).await;
    // The next of them need its place.
    strangers.have_come(strangers.came() + 6).await;
    call(&mut client).await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// A caller holds all places, and calls so often over each connection that none is idle. Another caller gets in, and keeps its
/// connection, which is idle for longer than all others, while more of the first one's come.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_holds_all_connections_makes_room_for_another() {
    const PLACES: usize = 6;
    let known = Known::start(&["--max-connections", "6"]).await;
    let address = known.broker.address();
    let (came, mut greedy) = (Arc::<AtomicUsize>::default(), JoinSet::new());
    let mut flood = |many: usize| {
        for _ in 0..many {
            let (channel, connections) = counting(address);
            let (mut client, came) = (TokenBrokerClient::new(channel), Arc::clone(&came));
            greedy.spawn(async move {
                loop {
                    // A call that waits for a connection may take as long as it likes.
                    let refused = client.get(request(STOLEN)).await.unwrap_err();
                    assert_ne!(refused.code(), Code::Unauthenticated);
                    came.fetch_add(connections.swap(0, Ordering::Relaxed), Ordering::Relaxed);
                    sleep(LOOK * 10).await;
                }
            });
        }
    };
    flood(PLACES);
    until("all places are taken", || async {
        came.load(Ordering::Relaxed) >= PLACES
    })
    .await;
    let (mut client, connections) = caller(address).await;
    // More of them than there are places take turns.
    flood(PLACES);
    let before = came.load(Ordering::Relaxed);
    until("they come again", || async {
        came.load(Ordering::Relaxed) >= before + PLACES
    })
    .await;
    call(&mut client).await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// Half-sent probes and watches fill no places that others' probes and watches need, however fast they come again.
#[tokio::test(flavor = "multi_thread")]
async fn probes_of_strangers_make_room_for_probes_and_watches() {
    const HOLDS: &[Hold] = &[Hold::HalfSentChecksAgain, Hold::WatchesAgain];
    let known = Known::start(&["--max-connections", "300"]).await;
    let address = known.broker.address();
    // Each of them wants `STREAMS` places, which is more than there are.
    let strangers = Strangers::send(160, address, HOLDS);
    strangers.have_come(160).await;
    let [mut watcher, mut prober] = [(); 2].map(|()| HealthClient::new(counting(address).0));
    let request = HealthCheckRequest::default;
    let watch = timeout(PATIENCE, watcher.watch(request())).await.unwrap();
    let mut kept = watch.unwrap().into_inner();
    assert!(kept.message().await.unwrap().is_some());
    for _ in 0..20 {
        let asked = timeout(PATIENCE, prober.check(request())).await.unwrap();
        asked.unwrap();
        let watch = timeout(PATIENCE, prober.watch(request())).await.unwrap();
        let mut watch = watch.unwrap().into_inner();
        assert!(watch.message().await.unwrap().is_some());
        sleep(LOOK).await;
    }
    // The watch keeps its place, although it is the oldest.
    assert!(kept.message().now_or_never().is_none());
}

/// All places of `health-listen` are held. Each probe is answered in the time that the kubelet gives it.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_make_room_for_probes_of_the_health() {
    const HOLDS: &[Hold] = &[Hold::Watches, Hold::Silent, Hold::HalfSentChecks];
    let broker = BrokerProcess::start(&["--backend", "memory", "--health-listen", "127.0.0.1:0"]);
    broker.serving().await;
    let address = broker.logged_address("health_address");
    let strangers = Strangers::send(80, address, HOLDS);
    strangers.have_come(80).await;
    for number in 0..5 {
        assert_eq!(check(address).await, Ok(()), "probe {number}");
    }
}

/// A client that watches the health from an address of its own keeps its connection, although it is the oldest, while
/// others come again and again from theirs.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_one_connection_keeps_it_beside_who_has_many() {
    // The watcher says nothing until the strangers have come, and has so long to begin.
    let args = ["--health-listen", "127.0.0.1:0", "--call-timeout", "60s"];
    let broker = BrokerProcess::start(&[&["--backend", "memory"][..], &args].concat());
    broker.serving().await;
    let address = broker.logged_address("health_address");
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut watcher = socket.connect(address).await.unwrap();
    let strangers = Strangers::send(80, address, &[Hold::Silent]);
    strangers.have_come(400).await;
    // It has the broker's settings to read, and then nothing: not the end.
    let mut settings = vec![0; 1024];
    watcher.write_all(PREFACE).await.unwrap();
    watcher
        .write_all(&frame(SETTINGS, 0, 0, &[]))
        .await
        .unwrap();
    assert!(watcher.read(&mut settings).await.unwrap() > 0);
}

/// All places of `metrics-listen` are held. Each page is answered in the time that the kubelet gives a probe.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_make_room_for_requests_of_pages() {
    const HOLDS: &[Hold] = &[Hold::Silent, Hold::SlowHeaders];
    let broker = BrokerProcess::start(&["--backend", "memory", "--metrics-listen", "127.0.0.1:0"]);
    broker.serving().await;
    let address = broker.logged_address("metrics_address");
    let strangers = Strangers::send(40, address, HOLDS);
    strangers.have_come(40).await;
    for path in ["/livez", "/readyz", "/metrics", "/livez"] {
        assert_eq!(page(address, path).await, Ok(()), "{path}");
    }
}

/// Where there is room, a client of `metrics-listen` has a limited time for its headers all the same.
#[tokio::test(flavor = "multi_thread")]
async fn headers_have_their_time() {
    /// Longer than the time for headers, and shorter than a connection may last.
    const LIMIT: Duration = Duration::from_millis(9_500);
    let broker = BrokerProcess::start(&["--backend", "memory", "--metrics-listen", "127.0.0.1:0"]);
    let address = broker.logged_address("metrics_address");
    let begun = Instant::now();
    let came = AtomicUsize::new(0);
    let both = async {
        tokio::join!(
            held(address, Hold::Silent, &came),
            held(address, Hold::SlowHeaders, &came)
        )
    };
    timeout(LIMIT, both).await.expect("both are closed").1.ok();
    assert_eq!(came.into_inner(), 2, "{:?}", begun.elapsed());
}
