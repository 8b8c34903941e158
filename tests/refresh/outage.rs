//! A provider that is down for everybody: it is asked little, others aren't affected, and no session is lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use testkit::{
    provider,
    reserved_port::ReservedPort,
    rotating_provider::{Fault, RotatingProvider, Rules},
    rows,
    token_endpoint::{Behaviour, TokenEndpoint},
    waiting::until,
};
use token_broker::{
    error::Error,
    refresh::provider::ProviderOptions,
    store::MemoryStore,
    tokens::Wanted,
    types::{ReauthReason, RowKey},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::brokers::{Process, access_token, expired, key, options, options_at};

type Broker = Process<Arc<MemoryStore>>;

/// How long an outage lasts.
fn lasts() -> Duration {
    let name = "REFRESH_OUTAGE_SECONDS";
    let seconds = std::env::var(name).map_or(8, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

const BROKERS: usize = 3;

/// Asks for the access tokens of all rows, again and again, at brokers that take turns. Returns how many calls were made.
async fn ask_until(ends: Instant, brokers: &[Broker], keys: &[RowKey]) -> usize {
    let calls = AtomicUsize::new(0);
    let caller = |(number, key): (usize, &RowKey)| {
        let (key, calls) = (key.clone(), &calls);
        async move {
            let mut broker = number;
            // They don't come all at once.
            sleep(Duration::from_millis(number as u64 % 500)).await;
            while Instant::now() < ends {
                broker += 1;
                calls.fetch_add(1, Ordering::Relaxed);
                let broker = &brokers[broker % BROKERS];
                let patience = Duration::from_millis(500);
                let got = broker.get_within(&key, Wanted::default(), patience).await;
                assert!(is_passing(&got), "{got:?}");
                sleep(Duration::from_millis(200)).await;
            }
        }
    };
    join_all(keys.iter().enumerate().map(caller)).await;
    calls.into_inner()
}

fn is_passing<T>(got: &Result<T, Error>) -> bool {
    match got {
        Ok(_) => true,
        Err(Error::ProviderUnavailable { .. }) => true,
        Err(Error::ReauthRequired(reason)) => *reason == ReauthReason::InDoubt,
        Err(_) => false,
    }
}

/// A dead provider, a thousand rows and callers, three brokers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_provider_is_asked_little_and_others_are_not_affected() {
    const ROWS: usize = 1_000;
    const AT_ONCE: usize = 10;
    let dead = TokenEndpoint::start().await;
    dead.behave("/token", [Behaviour::answer(503, &["Retry-After: 0"], "")]);
    let healthy = RotatingProvider::start(Rules::default()).await;
    let mut dead_options = options_at(&dead.url("/token"));
    dead_options.max_concurrent = AT_ONCE;
    let all = [dead_options, healthy_options(&healthy)];
    let store = Arc::new(MemoryStore::new());
    let brokers: Vec<Broker> = (0..BROKERS)
        .map(|_| Process::start_with(Arc::clone(&store), all.clone()))
        .collect();
    let keys: Vec<_> = (0..ROWS).map(|row| key(&format!("s{row}"))).collect();
    for (number, key) in keys.iter().enumerate() {
        brokers[0]
            .plant(key, &expired(&format!("rt-{number}")))
            .await;
    }
    let ends = Instant::now() + Duration::from_secs(4);
    let asked = async {
        sleep(Duration::from_secs(1)).await;
        let burst = dead.received().len();
        sleep(Duration::from_secs(3)).await;
        (burst, dead.received().len() - burst)
    };
    // Meanwhile others are refreshed as quickly as ever.
    let others = async {
        let (mut took, mut refreshed) = (Vec::new(), 0);
        while Instant::now() < ends {
            let key = rows::key(&format!("s{refreshed}"), "healthy");
            let row = expired(&healthy.log_in());
            let broker = &brokers[refreshed % BROKERS];
            broker.put(&key, row).await.unwrap();
            let began = Instant::now();
            let got = broker.get(&key, Wanted::default()).await.unwrap();
            assert!(healthy.accepts(access_token(&got)));
            took.push(began.elapsed());
            refreshed += 1;
            sleep(Duration::from_millis(20)).await;
        }
        took.sort();
        (took[took.len() / 2], refreshed)
    };
    let (calls, (burst, later), (usual, refreshed)) =
        tokio::join!(ask_until(ends, &brokers, &keys), asked, others);
    assert!(calls > ROWS, "{calls}");
    // As many as may be under way when the third of them fails, and then a probe now and then.
    assert!(
        burst <= (AT_ONCE + 5) * BROKERS,
        "{burst} requests in the first second"
    );
    assert!(later < 10 * BROKERS * 3, "{later} requests later");
    assert!(refreshed > 3, "{refreshed}");
    assert!(usual < Duration::from_secs(1), "{usual:?}");
}

fn healthy_options(at: &RotatingProvider) -> ProviderOptions {
    ProviderOptions {
        name: provider::options("healthy").name,
        ..options(at)
    }
}

/// Who may not ask a provider that is down is told so, and doesn't wait for a turn to ask.
#[tokio::test]
async fn callers_learn_at_once_that_a_provider_is_down() {
    const ROWS: usize = 100;
    let dead = TokenEndpoint::start().await;
    dead.behave("/token", [Behaviour::answer(503, &["Retry-After: 0"], "")]);
    let mut options = options_at(&dead.url("/token"));
    options.max_rate = 5;
    let broker = Process::start(Arc::new(MemoryStore::new()), options);
    let ask = async |row: usize, patience| {
        let (key, token) = (key(&format!("s{row}")), format!("rt-{row}"));
        broker.plant(&key, &expired(&token)).await;
        broker.get_within(&key, Wanted::default(), patience).await
    };
    join_all((0..3).map(|row| ask(row, Duration::from_millis(100)))).await;
    // Their requests go on without them.
    until("the breaker is open", async || {
        let providers = broker.tokens.refresher().providers();
        providers.get(&key("s").provider).unwrap().is_stopped()
    })
    .await;
    let mut told = 0;
    let calls = (0..ROWS).map(|row| ask(3 + row, Duration::from_millis(900)));
    for got in join_all(calls).await {
        let Err(Error::ProviderUnavailable { retry_after, .. }) = got else {
            panic!("{got:?}");
        };
        told += usize::from(retry_after.is_some());
    }
    // A slow machine may be late for some. Of those who wait for a turn, hardly any would learn it.
    assert!(told > ROWS / 2, "{told}");
    assert!(dead.received().len() <= 5, "{}", dead.received().len());
}

/// More callers than may wait are refused at once.
#[tokio::test]
async fn callers_that_wait_are_bounded() {
    const WAIT: usize = 20;
    const REFUSED: usize = 30;
    let provider = RotatingProvider::start(Rules::default()).await;
    let answers = watch::Sender::new(false);
    let held = answers.subscribe();
    provider.fail(move |_| Fault {
        held: Some(held.clone()),
        ..Fault::default()
    });
    let mut options = options(&provider);
    options.max_waiters = WAIT;
    options.timeout = Duration::from_secs(10);
    let broker = Process::start(Arc::new(MemoryStore::new()), options);
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let refused = AtomicUsize::new(0);
    let call = async |_| {
        let got = broker.get(&key, Wanted::default()).await;
        if let Err(error) = &got {
            let is_expected = matches!(error, Error::ProviderUnavailable { .. });
            assert!(is_expected, "{error:?}");
            refused.fetch_add(1, Ordering::Relaxed);
        }
        got.is_ok()
    };
    let answer = async {
        let are_refused = async || refused.load(Ordering::Relaxed) == REFUSED;
        until("the others are refused", are_refused).await;
        answers.send_replace(true);
    };
    let (served, ()) = tokio::join!(join_all((0..WAIT + REFUSED).map(call)), answer);
    assert_eq!(served.into_iter().filter(|served| *served).count(), WAIT);
    assert_eq!(provider.tally().requests, 1);
}

/// Many rows of a provider that rotates fall due while it is down. Afterwards every row is refreshed, but for the few that
/// found out, twice, that it was still down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_lost_in_an_outage() {
    let is_long = lasts() >= Duration::from_secs(60);
    let rows = if is_long { 1_000 } else { 300 };
    let provider = RotatingProvider::start(Rules::default()).await;
    let mut door = Door::open(provider.address()).await;
    let mut options = options_at(&format!("http://{}/token", door.at.address()));
    // A token in doubt is sent again a second later than that, which is during the outage.
    options.timeout = Duration::from_secs(2);
    let store = Arc::new(MemoryStore::new());
    let brokers = Process::start_all(BROKERS, &store, &options);
    let (mut keys, mut tokens) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let (key, token) = (key(&format!("s{row}")), provider.log_in());
        brokers[0].plant(&key, &expired(&token)).await;
        keys.push(key);
        tokens.push(token);
    }
    let answers = [
        Behaviour::answer(503, &[], ""),
        Behaviour::answer(503, &["Retry-After: 1"], ""),
        Behaviour::answer(500, &[], ""),
    ];
    let span = lasts() / 4;
    let ends = Instant::now() + span * 4;
    let outage = async {
        for answer in answers {
            provider.fail(move |_| Fault {
                instead: Some(answer.clone()),
                ..Fault::default()
            });
            sleep(span).await;
        }
        door.close().await;
        sleep(span).await;
    };
    tokio::join!(ask_until(ends, &brokers, &keys), outage);
    let during = provider.tally();
    provider.fail(|_| Fault::default());
    door.reopen().await;
    assert_eq!(during.redemptions, 0);

    let recover = |(number, key): (usize, &RowKey)| {
        brokers[number % BROKERS].get_within(key, Wanted::default(), Duration::from_secs(60))
    };
    let began = Instant::now();
    let after = join_all(keys.iter().enumerate().map(recover)).await;
    let took = began.elapsed();
    let mut in_doubt = 0;
    for (token, got) in tokens.iter().zip(after) {
        match got {
            Ok(stored) => assert!(provider.accepts(access_token(&stored))),
            Err(Error::ReauthRequired(ReauthReason::InDoubt)) => {
                // It was sent twice while the provider told nothing.
                assert_eq!(provider.sent(token), 2, "{token}");
                in_doubt += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    let tally = provider.tally();
    assert_eq!((tally.replays, tally.redemptions), (0, rows - in_doubt));
    println!(
        "{rows} rows, down for {:?}: {} requests meanwhile, {in_doubt} in doubt, the others refreshed {took:?} later",
        lasts(),
        during.requests
    );
    // Each probe is one request, and two of them make a doubt.
    assert!(
        in_doubt <= during.requests / 2 && in_doubt <= 5 * BROKERS,
        "{in_doubt} in doubt"
    );
    assert!(took < Duration::from_secs(40), "{took:?}");
}

/// What stands before a provider. When it is closed, connections are refused.
struct Door {
    at: ReservedPort,
    to: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl Door {
    async fn open(to: SocketAddr) -> Self {
        let mut door = Self {
            at: ReservedPort::new(),
            to,
            open: None,
        };
        door.reopen().await;
        door
    }

    async fn close(&mut self) {
        if let Some(task) = self.open.take() {
            task.abort();
            task.await.unwrap_err();
        }
    }

    async fn reopen(&mut self) {
        let listener = TcpListener::bind(self.at.address()).await.unwrap();
        self.open = Some(tokio::spawn(forward(listener, self.to)));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(task) = &self.open {
            task.abort();
        }
    }
}

async fn forward(listener: TcpListener, to: SocketAddr) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut inner = TcpStream::connect(to).await.unwrap();
            copy_bidirectional(&mut stream, &mut inner).await.ok();
        });
    }
}
