//! Strangers and callers who call again and again for what costs the broker work and gets them nothing. Whatever they ask for,
//! and over however many connections, they get 5,000 answers a second together, and others are answered meanwhile.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::waiting::until;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    doors::{CHECK, Known, LOOK, STOLEN, TOKEN},
    raw::{
        DATA, END_HEADERS, END_STREAM, Ends, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, Raw,
        WINDOW_UPDATE, broker_path, frame, header, headers, in_grpc,
    },
    target::{SMALL, get},
};

const CONNECTIONS: usize = 32;
/// How many calls each of them makes at once.
const CALLS: usize = 64;
/// How many connections strangers have who flood without end.
const STRANGERS: usize = 64;
/// How many answers there are at once, with one on each connection.
const FREE: usize = 500 + CONNECTIONS;
/// The time of an answer.
const EACH: Duration = Duration::from_micros(200);
/// How many bytes of answers a connection takes.
const WINDOW: u32 = 4 * 1024 * 1024;
/// How many calls are reset at once on one connection, and what HTTP/2 calls the reason.
const RESETS: usize = 512;
const CANCEL: u32 = 8;
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// An RPC, without credentials.
    Unknown,
    /// An RPC that the caller's role doesn't have.
    Denied,
    NoSuchMethod,
    NoSuchService,
    /// A page, as of a web server.
    NoSuchPage,
    Check,
    Watch,
    /// One stream of reflection, with many questions.
    Reflection,
    /// The same, with fewer questions that have large answers.
    Descriptors,
    /// An RPC with more headers than HTTP/2 takes.
    LongHeaders,
    /// RPCs with headers that HTTP/2 doesn't understand.
    Malformed,
    /// An RPC of a caller who may. There is no such row.
    Allowed,
}

fn bearer(token: &str) -> Vec<u8> {
    header("authorization", &format!("Bearer {token}"))
}

impl Ask {
    /// What gets nobody anything.
    const ALL: [Self; 11] = [
        Self::Unknown,
        Self::Denied,
        Self::NoSuchMethod,
        Self::NoSuchService,
        Self::NoSuchPage,
        Self::Check,
        Self::Watch,
        Self::Reflection,
        Self::Descriptors,
        Self::LongHeaders,
        Self::Malformed,
    ];

    fn headers(self) -> Vec<u8> {
        let rpc = || headers(&broker_path("Get"));
        match self {
            Self::Unknown => rpc(),
            Self::Denied => [rpc(), bearer(STOLEN)].concat(),
            Self::Allowed => [rpc(), bearer(TOKEN)].concat(),
            Self::NoSuchMethod => headers(&broker_path("Nothing")),
            Self::NoSuchService => headers("/some.Service/Get"),
            Self::NoSuchPage => headers("/"),
            Self::Check => headers(CHECK),
            Self::Watch => headers("/grpc.health.v1.Health/Watch"),
            Self::Reflection | Self::Descriptors => headers(REFLECTION),
            Self::LongHeaders => {
                let long = header("x", &"x".repeat(100)).repeat(130);
                [rpc(), long].concat()
            }
            Self::Malformed => [rpc(), header(":status", "200")].concat(),
        }
    }

    /// Returns the frames of so many calls from this stream on, and how many streams they end.
    fn calls(self, first: u32, many: usize) -> (Vec<u8>, usize) {
        let headers = self.headers();
        // The questions for all services, and for the file of one. With its answer that is as much as several others.
        let question = match self {
            Self::Reflection => Some((b"\x3a\0".to_vec(), many)),
            Self::Descriptors => Some((b"\x22\x1atokenbroker.v1.TokenBroker".to_vec(), many / 8)),
            _ => None,
        };
        if let Some((question, many)) = question {
            let length = u8::try_from(question.len()).unwrap();
            let questions = [&[0, 0, 0, 0, length], &question[..]].concat().repeat(many);
            let head = frame(HEADERS, END_HEADERS, first, &headers);
            let calls = [head, frame(DATA, END_STREAM, first, &questions)];
            return (calls.concat(), 1);
        }
        let streams = (first..).step_by(2).take(many);
        let call = |stream| match self {
            Self::Check | Self::Watch | Self::Allowed => {
                let head = frame(HEADERS, END_HEADERS, stream, &headers);
                let message = match self {
                    Self::Allowed => in_grpc(&get(SMALL, "p")),
                    _ => vec![0; 5],
                };
                [head, frame(DATA, END_STREAM, stream, &message)].concat()
            }
            _ => frame(HEADERS, END_HEADERS | END_STREAM, stream, &headers),
        };
        (streams.flat_map(call).collect(), many)
    }
}

/// A broker that knows a caller who may do everything, and one whose credentials were stolen, and who may call nothing of
/// `TokenBroker`.
async fn broker() -> Known {
    let args = ["--backend", "memory", "--health-listen", "127.0.0.1:0"];
    Known::start_as(["auth-server", "sidecar"], &args).await
}

/// Makes calls over many connections at once. Returns how long it takes until all are answered.
async fn flood(address: SocketAddr, ask: Ask) -> Duration {
    let begun = Instant::now();
    let mut connections = Vec::new();
    let (calls, ends) = ask.calls(1, CALLS);
    // The sixteen streams of `Watch` that a connection may have go on.
    let ends = match ask {
        Ask::Watch => ends - 16,
        _ => ends,
    };
    for _ in 0..CONNECTIONS {
        let window = [(INITIAL_WINDOW_SIZE, WINDOW)];
        let mut raw = Raw::connect(address, &window).await.unwrap().reading();
        let of_all = frame(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        raw.bytes(&[&of_all, &calls[..]].concat()).await.unwrap();
        connections.push(raw);
    }
    until("all are answered", || async {
        connections.iter().all(|raw| raw.ended() >= ends)
    })
    .await;
    begun.elapsed()
}

/// It shows nothing if the machine is too slow to answer more.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_strangers_ask_for_they_get_5_000_answers_a_second() {
    let known = broker().await;
    let many = u32::try_from(CONNECTIONS * CALLS - FREE).unwrap();
    let (address, health) = (
        known.broker.address(),
        known.broker.logged_address("health_address"),
    );
    let at_health = (health, Ask::Check);
    for (address, ask) in Ask::ALL
        .map(|ask| (address, ask))
        .into_iter()
        .chain([at_health])
    {
        let took = flood(address, ask).await;
        println!("{ask:?}: {took:?}");
        assert!(took >= EACH * many, "{ask:?}: {took:?}");
    }
}

/// Connects, makes many calls and resets each at once, until the broker closes the connection. Then it comes again. Counts the
/// connections that are closed.
async fn reset_and_come_again(address: SocketAddr, ask: Ask, closed: &AtomicUsize) {
    let bytes = (1..).step_by(2).take(RESETS).flat_map(|stream| {
        let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        [ask.calls(stream, 1).0, reset].concat()
    });
    let bytes: Vec<_> = bytes.collect();
    loop {
        let Ok(raw) = Raw::connect(address, &[]).await else {
            continue;
        };
        let mut raw = raw.reading();
        // It may be closed before it has read all.
        raw.bytes(&bytes).await.ok();
        while !raw.is_closed() {
            sleep(LOOK).await;
        }
        closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// HTTP/2 closes a connection on which too many calls are reset before anybody has heard of them. These count as refused, so that
/// 5,000 a second are too few for 200 connections in three seconds. It shows nothing if the machine is too slow for more.
#[tokio::test(flavor = "multi_thread")]
async fn who_resets_calls_and_comes_again_is_read_more_slowly() {
    for ask in [Ask::Unknown, Ask::Allowed] {
        let known = broker().await;
        let address = known.broker.address();
        let closed = Arc::<AtomicUsize>::default();
        let (mut strangers, begun) = (JoinSet::new(), Instant::now());
        for _ in 0..8 {
            let closed = Arc::clone(&closed);
            strangers.spawn(async move { reset_and_come_again(address, ask, &closed).await });
        }
        sleep(Duration::from_secs(3)).await;
        let closed = closed.load(Ordering::Relaxed);
        // The machine may hold up this test while the strangers go on.
        let most = 200 * begun.elapsed().as_millis() / 3_000;
        println!("{ask:?}: {closed} of {most}");
        assert!(closed as u128 <= most, "{ask:?}: {closed}");
    }
}

/// Calls without end over a connection, which always has calls that aren't answered.
async fn forever(mut raw: Raw, ask: Ask) -> io::Result<()> {
    let (mut first, mut asked) = (1, 0);
    loop {
        raw.bytes(&ask.calls(first, CALLS).0).await?;
        first += 2 * u32::try_from(CALLS).unwrap();
        while raw.ended() < asked {
            sleep(LOOK).await;
        }
        asked += CALLS;
    }
}

/// Makes a call and waits for its answer.
async fn ask_once(raw: &mut Raw, stream: u32, ask: Ask) {
    let before = raw.ended();
    raw.bytes(&ask.calls(stream, 1).0).await.unwrap();
    until("it is answered", || async { raw.ended() > before }).await;
}

/// The kubelet's probes come over a connection each, and those of a proxy over one that stays, as the calls of callers do.
/// Strangers who have many connections get few answers meanwhile, because each of theirs waits for its turn, too. That counts
/// answers and not time, so that it doesn't depend on the machine.
#[tokio::test(flavor = "multi_thread")]
async fn probes_and_callers_come_after_one_call_of_each_stranger() {
    let known = broker().await;
    let address = known.broker.address();
    let connect = async || Raw::connect(address, &[]).await.unwrap().reading();
    let (mut strangers, mut answers) = (JoinSet::new(), Vec::new());
    for number in 0..STRANGERS {
        let raw = connect().await;
        answers.push(raw.ends());
        let ask = [Ask::Unknown, Ask::Check, Ask::NoSuchService][number % 3];
        strangers.spawn(forever(raw, ask));
    }
    let answered = || answers.iter().map(Ends::count).sum::<usize>();
    until("the flood has begun", || async { answered() > 2_000 }).await;
    let (mut proxy, mut caller) = (connect().await, connect().await);
    let mut best = [usize::MAX; 3];
    // The machine may hold up the test while the strangers go on: the best of some calls counts.
    for stream in (1..).step_by(2).take(50) {
        let mut kubelet = connect().await;
        let calls = [
            (&mut kubelet, Ask::Check),
            (&mut proxy, Ask::Check),
            (&mut caller, Ask::Allowed),
        ];
        for ((raw, ask), best) in calls.into_iter().zip(&mut best) {
            let before = answered();
            ask_once(raw, stream, ask).await;
            *best = (answered() - before).min(*best);
        }
        if best.iter().all(|many| *many <= 4 * STRANGERS) {
            return;
        }
    }
    panic!("so many answers of others: {best:?}");
}
