//! The load: callers that must be served all the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use prost_types::Timestamp;
use testkit::{rotating_provider::RotatingProvider, waiting::until};
use token_broker::{
    proto::v1::{
        self, access_tokens_client::AccessTokensClient, token_broker_client::TokenBrokerClient,
    },
    types::UnixTime,
};
use tokio::{
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_rustls::rustls::ClientConfig;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use super::{Sizes, secrets::PROVIDER};
use crate::broker::Broker;

/// The connections that must stay, and how many callers share each.
pub const CONNECTIONS: usize = 8;
const CALLERS: usize = 8;

/// Callers of two kinds: some read rows that nobody writes, and one on each of the first connections stores a row and has it
/// refreshed, again and again.
pub struct Keepers {
    over: Arc<AtomicBool>,
    connects: Arc<AtomicUsize>,
    readers: Vec<JoinHandle<Vec<Duration>>>,
    refreshers: Vec<(Arc<AtomicUsize>, JoinHandle<()>)>,
}

/// How many callers refresh.
const REFRESHERS: usize = 2;

impl Keepers {
    pub async fn begin(broker: &Broker, provider: &Arc<RotatingProvider>, sizes: &Sizes) -> Self {
        let config = broker.config(Some(&broker.good()));
        let every = Duration::from_secs(1) * (CONNECTIONS * CALLERS) as u32;
        let every = every / sizes.calls_per_second as u32;
        let mut keepers = Self {
            over: Arc::default(),
            connects: Arc::default(),
            readers: Vec::new(),
            refreshers: Vec::new(),
        };
        for connection in 0..CONNECTIONS {
            let channel = connect(broker, &config, &keepers.connects).await;
            let session = format!("kept-{connection}");
            let mut client = TokenBrokerClient::new(channel.clone());
            client.store(row(&session, &session, "")).await.unwrap();
            for _ in 0..CALLERS {
                let over = Arc::clone(&keepers.over);
                let calls = steadily(client.clone(), session.clone(), ticks(every), over);
                keepers.readers.push(tokio::spawn(calls));
            }
            if connection < REFRESHERS {
                let rounds = Arc::<AtomicUsize>::default();
                let refreshing = Refreshing {
                    session: format!("refreshed-{connection}"),
                    provider: Arc::clone(provider),
                    channel,
                };
                let over = Arc::clone(&keepers.over);
                let ticks = ticks(sizes.between_refreshes);
                let task = refreshing.steadily(ticks, Arc::clone(&rounds), over);
                keepers.refreshers.push((rounds, tokio::spawn(task)));
            }
        }
        keepers
    }

    /// Waits until every write and refresh that was under way is over, and another has begun and ended.
    pub async fn turned_over(&self) {
        for (rounds, task) in &self.refreshers {
            let before = rounds.load(Ordering::Relaxed);
            until("a row is refreshed twice", || async {
                task.is_finished() || rounds.load(Ordering::Relaxed) >= before + 2
            })
            .await;
        }
    }

    /// Ends the calls, and returns how long each read took, the shortest first, and how many refreshes there were.
    pub async fn end(self) -> (Vec<Duration>, usize) {
        self.over.store(true, Ordering::Relaxed);
        let (mut took, mut refreshes) = (Vec::new(), 0);
        for task in self.readers {
            took.extend(task.await.unwrap());
        }
        for (rounds, task) in self.refreshers {
            task.await.unwrap();
            refreshes += rounds.load(Ordering::Relaxed);
        }
        let connects = self.connects.load(Ordering::Relaxed);
        assert_eq!(connects, CONNECTIONS, "a connection didn't stay");
        took.sort_unstable();
        (took, refreshes)
    }
}

/// Ticks that nobody misses: what comes late is made up for.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

/// Reads a row at this interval. No call may fail. The time of a call counts from when it was to begin.
async fn steadily(
    mut client: TokenBrokerClient<Channel>,
    session: String,
    mut ticks: Interval,
    over: Arc<AtomicBool>,
) -> Vec<Duration> {
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = ticks.tick().await;
        read(&mut client, &session).await.unwrap();
        took.push(begun.elapsed());
    }
    took
}

/// Reads a row whose access token is the name of its session.
pub async fn read(client: &mut TokenBrokerClient<Channel>, session: &str) -> Result<(), Status> {
    let got = client.get(v1::GetRequest {
        session_id: session.to_owned(),
        provider: PROVIDER.to_owned(),
        binding: None,
    });
    let entry = got.await?.into_inner().entry.unwrap();
    assert_eq!(entry.tokens.unwrap().access_token, session);
    Ok(())
}

/// A row that is stored and refreshed.
pub struct Refreshing {
    pub session: String,
    pub provider: Arc<RotatingProvider>,
    pub channel: Channel,
}

impl Refreshing {
    /// Goes on at this interval. No call may fail.
    async fn steadily(self, mut ticks: Interval, rounds: Arc<AtomicUsize>, over: Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            ticks.tick().await;
            self.once().await.unwrap();
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stores a row of a new login, whose access token has expired, and asks for one that hasn't.
    pub async fn once(&self) -> Result<(), Status> {
        let refresh_token = self.provider.log_in();
        let mut client = TokenBrokerClient::new(self.channel.clone());
        client
            .store(row(&self.session, "expired", &refresh_token))
            .await?;
        let mut client = AccessTokensClient::new(self.channel.clone());
        let got = client.get_access_token(v1::GetAccessTokenRequest {
            session_id: self.session.clone(),
            provider: PROVIDER.to_owned(),
            ..Default::default()
        });
        let token = got.await?.into_inner().token.unwrap().access_token;
        assert!(self.provider.accepts(&token), "{token}");
        assert_eq!(self.provider.sent(&refresh_token), 1);
        Ok(())
    }
}

/// A row. With a refresh token, its access token has expired.
fn row(session: &str, access_token: &str, refresh_token: &str) -> v1::StoreRequest {
    let expired = Timestamp {
        seconds: UnixTime::now().seconds() - 10,
        nanos: 0,
    };
    v1::StoreRequest {
        session_id: session.to_owned(),
        provider: PROVIDER.to_owned(),
        tokens: Some(v1::UpstreamTokens {
            access_token: access_token.to_owned(),
            refresh_token: refresh_token.to_owned(),
            expires_at: (!refresh_token.is_empty()).then_some(expired),
            user_id: "u".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Connects, and counts each connection that is made.
async fn connect(
    broker: &Broker,
    config: &Arc<ClientConfig>,
    connects: &Arc<AtomicUsize>,
) -> Channel {
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
    endpoint.connect_with_connector(connector).await.unwrap()
}
