//! A broker with all that it can have: TLS and callers, sealing, an audit trail, metrics, Redis with a password, providers.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use testkit::{
    authority::{Authority, Identity, Wanted},
    broker_process::{BrokerProcess, program},
    canary::Sink,
    private_file::write_private,
    redis_server::RedisServer,
    token_endpoint::TokenEndpoint,
    waiting::until,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    caller::{Caller, Told},
    collector::{Collector, HEADER},
    provider,
    redis::{self, Monitor},
    secrets::Secrets,
};

/// How long a call may take that has to succeed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a broker is run.
pub struct Plan {
    pub is_sealed: bool,
    /// Whether secrets stand where they don't belong: in the names of providers, on the command line and in the environment.
    pub is_careless: bool,
    /// The program that is run.
    pub program: Command,
}

impl Plan {
    /// Returns that of a broker as it is shipped.
    pub fn shipped() -> Self {
        Self {
            is_sealed: true,
            is_careless: false,
            program: program(),
        }
    }
}

/// The broker and all around it.
pub struct World {
    pub secrets: Secrets,
    pub redis: RedisServer,
    pub monitor: Monitor,
    pub endpoint: TokenEndpoint,
    /// The names of the providers whose answers are odd.
    pub odd: Vec<String>,
    pub process: BrokerProcess,
    pub collector: Collector,
    pub told: Told,
    /// What other brokers have logged, which have ended.
    logged_by_others: Vec<u8>,
    clients: Authority,
    dir: TempDir,
    metrics: Vec<u8>,
}

impl World {
    /// Starts everything.
    pub async fn start(mut plan: Plan) -> Self {
        let (authority, clients) = (Authority::new("server ca"), Authority::new("client ca"));
        let secrets = Secrets::new(&authority);
        let dir = tempfile::tempdir().unwrap();
        let redis = redis::start(&secrets.redis_password);
        let (endpoint, providers, odd) = provider::start(&secrets, dir.path()).await;
        let collector = Collector::start().await;
        let policy = format!(
            "[callers.auth]\ndns-names = [\"auth.test\"]\nbearer-sha256 = [\"{}\"]\n\
             roles = [\"auth-server\", \"sidecar\", \"admin\"]\nproviders = \"*\"\n\
             [callers.proxy]\ndns-names = [\"proxy.test\"]\nroles = [\"sidecar\"]\nproviders = [\"odd0\"]\n",
            secrets.bearer_sha256()
        );
        let write = |name: &str, text: &str| write_private(&dir.path().join(name), text);
        fs::create_dir(dir.path().join("wrong")).unwrap();
        secrets.server.write_to(dir.path(), "tls");
        write("provider.key", &secrets.client.key);
        write("ca.pem", &authority.pem);
        write("clients.pem", &clients.pem);
        write("policy.toml", &policy);
        write("seal-keys", &secrets.sealing_line());
        write("audit-key", &STANDARD.encode(&secrets.audit_key));
        write("redis-password", &secrets.redis_password);
        write("client-secret", &secrets.client_secret);
        let header = format!("{HEADER}: Bearer {}", secrets.collector_token);
        write("collector-header", &header);
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "backend = \"redis\"\nredis-url = \"{}\"\nredis-password-file = \"{}\"\ntls-cert = \"{}\"\ntls-key = \"{}\"\n\
             client-ca = \"{}\"\npolicy = \"{}\"\naudit = \"required\"\naudit-timeout = \"20s\"\naudit-file = [\"{}\"]\naudit-key-file = \"{}\"\n\
             traces-endpoint = \"{}\"\ntraces-header-file = \"{}\"\ntraces-one-in = 1\n",
            redis.url(),
            path("redis-password"),
            path("tls.pem"),
            path("tls.key"),
            path("clients.pem"),
            path("policy.toml"),
            path("audit.jsonl"),
            path("audit-key"),
            collector.url,
            path("collector-header"),
        );
        if plan.is_sealed {
            config += &format!("seal-keys = \"{}\"\n", path("seal-keys"));
        }
        config += &providers;
        if plan.is_careless {
            config += &provider::of_the_control(&secrets, &endpoint, dir.path());
            let names = secrets.names().into_values().collect::<Vec<_>>().join(" ");
            plan.program.arg0(&names).env("SECRETS", names);
        }
        write("broker.toml", &config);
        let monitor = Monitor::follow(&redis, &secrets.redis_password).await;
        let args = [
            "--config",
            &path("broker.toml"),
            "--log-level",
            "trace",
            "--metrics-listen",
            "127.0.0.1:0",
            "--health-listen",
            "127.0.0.1:0",
            // A Redis that stands still for a second is one on a busy machine.
            "--redis-timeout",
            "5s",
        ];
        let process = BrokerProcess::of(plan.program, &args);
        let world = Self {
            secrets,
            redis,
            monitor,
            endpoint,
            odd,
            process,
            collector,
            told: Told::default(),
            logged_by_others: Vec::new(),
            clients,
            dir,
            metrics: Vec::new(),
        };
        world.serves().await;
        world
    }

    /// Returns the path of a file.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Replaces a file.
    pub fn write(&self, name: &str, text: &str) {
        self.write_at(&self.dir.path().join(name), text);
    }

    /// Writes a file that nobody else may read.
    pub fn write_at(&self, path: &Path, text: &str) {
        write_private(path, text);
    }

    /// Waits until calls are served.
    pub async fn serves(&self) {
        until("it serves", async || {
            let ends = Told::default();
            let caller = self.caller_telling("auth.test", &ends).await;
            let caller = caller.showing(&format!("Bearer {}", self.secrets.bearer));
            let list = "TokenBroker/ListUserSessions";
            // `user_id` = "u".
            let request = vec![0x0a, 1, b'u'];
            caller.call(list, request, PATIENCE).await.is_some()
        })
        .await;
    }

    /// Starts another broker with the same settings, but for these, and the trail, which is its own.
    pub fn another(&self, changed: &str, client_id: &str) -> BrokerProcess {
        let good = fs::read_to_string(self.file("broker.toml")).unwrap();
        let good = good.replace(
            "client-id = \"client\"",
            &format!("client-id = \"{client_id}\""),
        );
        self.write("another.toml", &format!("{changed}\n{good}"));
        let (config, audit) = (self.file("another.toml"), self.file("another.jsonl"));
        let level = ["--log-level", "trace"];
        let args = [&["--config", &config, "--audit-file", &audit][..], &level].concat();
        BrokerProcess::of(program(), &args)
    }

    /// Returns a caller of another broker who may call everything.
    pub async fn auth_at(&self, broker: &BrokerProcess) -> Caller {
        let caller = self.caller_at(broker, "auth.test", &self.told).await;
        caller.showing(&format!("Bearer {}", self.secrets.bearer))
    }

    /// Returns a caller of another broker who shows nothing.
    pub async fn nobody_at(&self, broker: &BrokerProcess) -> Caller {
        let ca = PathBuf::from(self.file("ca.pem"));
        Caller::connect(broker.address(), (ca, None), &self.told).await
    }

    /// Ends another broker.
    pub async fn end(&mut self, broker: BrokerProcess) {
        self.logged_by_others
            .extend(ended(broker).await.into_bytes());
    }

    /// Returns a caller that has a certificate with this name.
    pub async fn caller(&self, dns_name: &str) -> Caller {
        self.caller_telling(dns_name, &self.told).await
    }

    /// Returns the caller who may call everything.
    pub async fn auth(&self) -> Caller {
        let caller = self.caller("auth.test").await;
        caller.showing(&format!("Bearer {}", self.secrets.bearer))
    }

    async fn caller_telling(&self, dns_name: &str, told: &Told) -> Caller {
        self.caller_at(&self.process, dns_name, told).await
    }

    async fn caller_at(&self, broker: &BrokerProcess, dns_name: &str, told: &Told) -> Caller {
        let identity: Identity = self.clients.sign(&Wanted::nobody().dns_name(dns_name));
        let ca = PathBuf::from(self.file("ca.pem"));
        Caller::connect(broker.address(), (ca, Some(&identity)), told).await
    }

    /// Reads the metrics, in addition to what was read before. Returns them.
    pub fn scrape(&mut self) -> String {
        let text = self.process.metrics();
        self.metrics.extend_from_slice(text.as_bytes());
        text
    }

    /// Returns what the process shows of its own.
    pub fn shown_by_the_system(&self) -> Vec<Sink> {
        let read = |name: &str| fs::read(format!("/proc/{}/{name}", self.process.pid())).unwrap();
        let limits = String::from_utf8(read("limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let core: Vec<_> = core.unwrap().split_whitespace().collect();
        assert_eq!(core[4..6], ["0", "0"], "no core may be dumped");
        vec![
            Sink::new("command line", read("cmdline")),
            Sink::new("environment", read("environ")),
        ]
    }

    /// Asks the broker to end, waits for that, and returns what it has left.
    pub async fn sinks(self) -> Vec<Sink> {
        let mut log = ended(self.process).await.into_bytes();
        log.extend(self.logged_by_others);
        let shown = self.collector.shown();
        let bearer = format!("Bearer {}", self.secrets.collector_token);
        assert!(!shown.is_empty(), "no span was sent");
        assert!(shown.iter().all(|shown| shown == bearer.as_bytes()));
        let read = |name: &str| fs::read(self.dir.path().join(name)).unwrap_or_default();
        let audit = [read("audit.jsonl"), read("another.jsonl")].concat();
        let mut sinks = vec![
            Sink::new("log", log),
            Sink::new("audit", audit),
            Sink::new("metrics", self.metrics),
            Sink::new("traces", self.collector.bytes()),
            Sink::new("errors", self.told.errors()),
        ];
        // Also what it has told Redis at its end.
        sinks.extend(redis::sinks(&self.redis, &self.monitor).await);
        sinks
    }
}

/// Asks a broker to end, waits for that, and returns its log.
async fn ended(broker: BrokerProcess) -> String {
    let ended = broker.ended().await;
    assert_eq!(ended.status.code(), Some(0));
    ended.log
}
