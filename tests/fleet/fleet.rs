//! The processes of a test.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use testkit::{
    broker_process::BrokerProcess,
    certificates::Certificates,
    deployment::{Deployment, Setting},
    oidc_provider::{CLIENT_SECRET, Happened, OidcProvider},
    requests::{store_request, tokens},
    waiting::until,
};
use token_broker::proto::v1::{
    UpstreamTokens, access_tokens_client::AccessTokensClient,
    token_broker_client::TokenBrokerClient,
};
use token_broker::types::UnixTime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::transport::Channel;

/// How large a test is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub rows: usize,
    pub callers: usize,
}

impl Size {
    /// Returns the size that CI can afford, or that of the long form.
    pub fn of(rows: usize, callers: usize) -> Self {
        if std::env::var("FLEET").is_ok_and(|value| value == "full") {
            Self {
                rows: 1_000,
                callers: 20,
            }
        } else {
            Self { rows, callers }
        }
    }
}

/// A broker, and clients with connections of their own.
pub struct Broker {
    pub process: BrokerProcess,
    channel: Channel,
}

impl Broker {
    pub fn access(&self) -> AccessTokensClient<Channel> {
        AccessTokensClient::new(self.channel.clone())
    }

    pub fn store(&self) -> TokenBrokerClient<Channel> {
        TokenBrokerClient::new(self.channel.clone())
    }
}

/// How long a request to the provider may take, unless a test is about who takes a token over from whom. The outcome of one
/// that takes longer is unknown.
const LONG: &str = "20s";
/// The same where a test is about that. Others take a token over two leases and this time later.
const BRIEF: &str = "3s";

/// So many fleets run at once, however many tests do. More would only wait for the processor until requests time out.
static TURNS: Semaphore = Semaphore::const_new(2);

/// The brokers on one Redis, and their provider.
pub struct Fleet<D> {
    pub redis: D,
    pub provider: OidcProvider,
    brokers: Mutex<BTreeMap<usize, Arc<Broker>>>,
    dir: TempDir,
    _turn: SemaphorePermit<'static>,
    args: Vec<String>,
    /// How long a request to the provider may take.
    timeout: &'static str,
    /// How many rows were stored.
    rows: AtomicUsize,
}

impl<D: Deployment> Fleet<D> {
    /// Starts three brokers. `settings` are further lines for the provider.
    pub async fn start(redis: D, settings: &str) -> Self {
        Self::start_with(redis, settings, &[]).await
    }

    /// Starts three brokers with further arguments.
    pub async fn start_with(redis: D, settings: &str, args: &[&str]) -> Self {
        Self::start_timed(redis, settings, args, LONG).await
    }

    /// Starts three brokers that soon take tokens over from each other.
    pub async fn start_brief(redis: D, settings: &str) -> Self {
        Self::start_timed(redis, settings, &[], BRIEF).await
    }

    async fn start_timed(redis: D, settings: &str, args: &[&str], timeout: &'static str) -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let dir = TempDir::new().unwrap();
        Certificates::shared().write_to(dir.path());
        fs::write(dir.path().join("secret"), CLIENT_SECRET).unwrap();
        let provider = OidcProvider::start(dir.path());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "[providers.idp]\nissuer = {:?}\nclient-id = \"client_secret_basic\"\nclient-secret-file = {:?}\nca-file = {:?}\n\
             timeout = \"{timeout}\"\nmax-waiters = 100000\nmax-concurrent = 16\nmax-rate = 10000\n{settings}\n",
            provider.issuer(),
            path("secret"),
            path("ca.pem"),
        );
        fs::write(dir.path().join("broker.toml"), config).unwrap();
        let fleet = Self {
            redis,
            provider,
            brokers: Mutex::default(),
            dir,
            _turn: turn,
            args: args.iter().map(ToString::to_string).collect(),
            timeout,
            rows: AtomicUsize::new(0),
        };
        for number in 0..3 {
            fleet.start_broker(number).await;
        }
        fleet
    }

    /// Starts a broker in this place.
    pub async fn start_broker(&self, number: usize) {
        let config = self.config().display().to_string();
        let settings = self.redis.settings();
        let settings = settings
            .iter()
            .map(|(name, value): &Setting| format!("--{name}={value}"));
        let mut args: Vec<String> = settings.collect();
        args.extend([
            "--config".to_owned(),
            config,
            "--max-calls=100000".to_owned(),
            // A Redis that stands still for a second is one on a busy machine.
            "--redis-timeout=5s".to_owned(),
            "--redis-connect-timeout=5s".to_owned(),
        ]);
        args.extend_from_slice(&self.args);
        args.push("--backend=redis".to_owned());
        args.push("--shutdown-delay=0s".to_owned());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let process = BrokerProcess::start(&args);
        process.serving().await;
        let channel = process.connect().await;
        let broker = Arc::new(Broker { process, channel });
        self.brokers().insert(number, broker);
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("broker.toml")
    }

    /// Returns the arguments of an auth server that has the client's credentials itself, and finds a broker at this address.
    pub fn auth_server_args(&self, broker: SocketAddr) -> Vec<String> {
        let issuer = self.provider.issuer();
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let args = [
            ("broker", broker.to_string()),
            ("provider", "idp".to_owned()),
            ("token-endpoint", format!("{issuer}/token")),
            ("issuer", issuer),
            ("client-id", "client_secret_basic".to_owned()),
            ("client-secret-file", path("secret")),
            ("ca-file", path("ca.pem")),
            ("timeout", self.timeout.to_owned()),
        ];
        let args = args.map(|(name, value)| format!("-{name}={value}"));
        args.to_vec()
    }

    /// Returns the broker in this place, if there is one.
    pub fn broker(&self, number: usize) -> Option<Arc<Broker>> {
        self.brokers().get(&number).cloned()
    }

    /// Takes the broker in this place out.
    pub fn take(&self, number: usize) -> Arc<Broker> {
        self.brokers().remove(&number).unwrap()
    }

    fn brokers(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Broker>>> {
        self.brokers.lock().unwrap()
    }

    /// Checks that each of so many refresh tokens was redeemed once, and no login ended.
    pub fn redeemed_each_once(&self, rows: usize) {
        let expected = Happened {
            redemptions: rows as u64,
            ..Happened::default()
        };
        assert_eq!(self.provider.happened(), expected);
    }

    /// Stores rows whose access tokens have expired. Returns their sessions.
    pub async fn store_expired(&self, rows: usize) -> Vec<String> {
        let broker = self.broker(0).unwrap();
        let first = self.rows.fetch_add(rows, Ordering::Relaxed);
        let mut sessions = Vec::new();
        for row in first..first + rows {
            let refresh_token = self.provider.log_in("client_secret_basic");
            let session_id = format!("session-{row}");
            let tokens = UpstreamTokens {
                refresh_token,
                upstream_subject: "alice".to_owned(),
                expires_at: Some(prost_types::Timestamp {
                    seconds: UnixTime::now().seconds() - 10,
                    nanos: 0,
                }),
                ..tokens("old", "u")
            };
            let request = store_request(&session_id, "idp", tokens);
            // Where writes wait for replicas, these may take longer than the broker waits for them.
            until("a row is stored", async || {
                broker.store().store(request.clone()).await.is_ok()
            })
            .await;
            sessions.push(session_id);
        }
        sessions
    }
}

/// Sends a signal to a process.
pub fn signal(name: &str, pid: u32) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status();
    assert!(status.unwrap().success());
}

/// Whether a process that this one started has ended.
pub fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_none_or(|rest| rest.starts_with('Z'))
}
