//! What each guard costs a `Get`: sealing, a policy, the audit trail (`required`), metrics and TLS with client
//! certificates, each alone and all together, beside a broker with none of them.
//!
//! All brokers are on one Redis, each with a tenant of its own, and take turns: a round of each, then the next round.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use testkit::{
    authority::{Authority, Wanted},
    broker_process::BrokerProcess,
    redis_server::RedisServer,
    sealing,
    waiting::until,
};
use token_broker::tls::{ClientFiles, client};
use tokio::runtime::Runtime;

use crate::{
    calls,
    client::Place,
    closed_loop,
    figures::{Series, Spread, Table},
    open_loop,
    options::Options,
    process::{Process, Role},
    requests::{Method, Requests},
    servers::redis_process,
    window::Sample,
};

/// The token of the caller that the policy knows.
const BEARER: &str = "the-token-of-the-caller-that-the-policy-knows";
/// The DNS name in the certificate of the caller.
const NAME: &str = "caller.test";
/// In the open loop calls begin at this part of the lowest peak, so that all brokers have the same rate.
const PART_OF_PEAK: f64 = 0.5;

/// What a broker guards itself with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Sealing,
    Policy,
    Audit,
    Metrics,
    Mtls,
}

impl Guard {
    const ALL: [Self; 5] = [
        Self::Sealing,
        Self::Policy,
        Self::Audit,
        Self::Metrics,
        Self::Mtls,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Sealing => "sealing",
            Self::Policy => "policy",
            Self::Audit => "audit",
            Self::Metrics => "metrics",
            Self::Mtls => "mtls",
        }
    }
}

/// A broker with some guards.
struct Guarded {
    word: &'static str,
    broker: BrokerProcess,
    place: Place,
    processes: Vec<Process>,
    /// Where its metrics are read once a round, if they are on.
    metrics: Option<SocketAddr>,
}

/// The files of all brokers.
struct Files {
    dir: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new("ca"));
        authority
            .sign(&Wanted::server())
            .write_to(dir.path(), "server");
        authority
            .sign(&Wanted::nobody().dns_name(NAME))
            .write_to(dir.path(), "client");
        let files = Self { dir, authority };
        fs::write(files.path("ca.pem"), &files.authority.pem).unwrap();
        files.private("seal.keys", &sealing::file(&["k"]));
        files.private(
            "audit.key",
            "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n",
        );
        files
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn private(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Returns the arguments of a guard.
    fn args(&self, guard: Guard, tenant: &str, with_mtls: bool) -> Vec<String> {
        let name = tenant.replace(':', "-");
        match guard {
            Guard::Sealing => vec!["--seal-keys".into(), self.path("seal.keys")],
            Guard::Policy => {
                let known = if with_mtls {
                    format!("dns-names = [\"{NAME}\"]")
                } else {
                    let hash = Sha256::digest(BEARER).into_iter();
                    let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
                    format!("bearer-sha256 = [\"{hash}\"]")
                };
                let policy = format!(
                    "[callers.caller]\ntenant = \"{tenant}\"\nroles = [\"auth-server\", \"sidecar\"]\nproviders = \"*\"\n{known}\n"
                );
                let file = self.path(&format!("{name}.toml"));
                fs::write(&file, policy).unwrap();
                vec!["--policy".into(), file]
            }
            Guard::Audit => vec![
                "--audit".into(),
                "required".into(),
                "--audit-file".into(),
                self.path(&format!("{name}.jsonl")),
                "--audit-key-file".into(),
                self.path("audit.key"),
            ],
            Guard::Metrics => vec!["--metrics-listen".into(), "127.0.0.1:0".into()],
            Guard::Mtls => vec![
                "--tls-cert".into(),
                self.path("server.pem"),
                "--tls-key".into(),
                self.path("server.key"),
                "--client-ca".into(),
                self.path("ca.pem"),
            ],
        }
    }

    /// Returns how clients connect to a broker with these guards.
    fn place(&self, broker: &BrokerProcess, guards: &[Guard]) -> Place {
        let has = |guard: Guard| guards.contains(&guard);
        let mut place = Place::from(broker.address());
        if has(Guard::Mtls) {
            let file = |name: &str| Path::new(&self.path(name)).to_owned();
            let files = ClientFiles {
                ca: Some(file("ca.pem")),
                identity: Some((file("client.pem"), file("client.key"))),
            };
            place.tls = Some(client(&files).unwrap());
        } else if has(Guard::Policy) {
            place.bearer = Some(BEARER.to_owned());
        }
        place
    }
}

impl Guarded {
    fn start(
        (word, guards): (&'static str, &[Guard]),
        files: &Files,
        redis: &RedisServer,
        options: &Options,
        runtime: &Runtime,
    ) -> Self {
        let tenant = format!("trust:{word}");
        let mut args = options.broker_args.clone();
        args.extend([
            "--backend=redis".into(),
            format!("--redis-url={}", redis.url()),
        ]);
        args.extend(["--redis-timeout=5s".into(), format!("--tenant={tenant}")]);
        for guard in guards {
            args.extend(files.args(*guard, &tenant, guards.contains(&Guard::Mtls)));
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let broker = BrokerProcess::start(&args);
        runtime.block_on(until("the broker serves", || async {
            broker.log().contains("the store is reachable: SERVING")
        }));
        let place = files.place(&broker, guards);
        closed_loop::fill(&place, 0..options.sizes.sessions);
        Self {
            word,
            processes: vec![
                Process::new(Role::Client, std::process::id()),
                Process::new(Role::Server, broker.pid()),
                redis_process(redis),
            ],
            metrics: guards
                .contains(&Guard::Metrics)
                .then(|| broker.logged_address("metrics_address")),
            place,
            broker,
        }
    }

    /// Measures one round, in which the metrics are read once.
    fn round(&self, measure: impl FnOnce() -> Sample) -> Sample {
        thread::scope(|scope| {
            if let Some(address) = self.metrics {
                scope.spawn(move || scrape(address));
            }
            measure()
        })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log of {}:\n{}", self.word, self.broker.log());
        }
    }
}

fn scrape(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.contains("token_broker_"), "{page}");
}

/// Measures all brokers in a closed and in an open loop, and passes on each table.
pub(crate) fn measure(options: &Options, runtime: &Runtime, done: &mut impl FnMut(Table)) {
    let (files, redis) = (Files::new(), RedisServer::start());
    let start =
        |word, guards: &[Guard]| Guarded::start((word, guards), &files, &redis, options, runtime);
    let mut brokers = vec![start("none", &[])];
    brokers.extend(Guard::ALL.map(|guard| start(guard.word(), &[guard])));
    brokers.push(start("all", &Guard::ALL));

    let mut requests = Requests::new(Method::Get, 0..options.sizes.sessions);
    let (callers, connections) = options.sizes.peak;
    let peaks = rounds(&brokers, options, |broker| {
        let (place, processes) = (&broker.place, &broker.processes);
        let requests = &mut requests;
        closed_loop::measure(
            place,
            callers,
            connections,
            requests,
            options.span,
            processes,
        )
    });
    done(table(
        format!("get, {callers} callers over {connections} connections"),
        "closed",
        &brokers,
        &peaks,
    ));

    let peak = |samples: &Vec<Sample>| {
        let rates: Vec<_> = samples.iter().map(Sample::calls_per_second).collect();
        Spread::of(&rates).median
    };
    let rate = PART_OF_PEAK * peaks.iter().map(peak).fold(f64::INFINITY, f64::min);
    let samples = rounds(&brokers, options, |broker| {
        let (place, processes) = (&broker.place, &broker.processes);
        open_loop::measure(
            place,
            rate,
            connections,
            &mut requests,
            options.span,
            processes,
        )
    });
    done(table(
        format!("get, open loop at {rate:.0} calls/s"),
        "open",
        &brokers,
        &samples,
    ));
}

/// Returns the rounds of each broker.
fn rounds(
    brokers: &[Guarded],
    options: &Options,
    mut measure: impl FnMut(&Guarded) -> Sample,
) -> Vec<Vec<Sample>> {
    let mut samples: Vec<_> = brokers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (broker, samples) in brokers.iter().zip(&mut samples) {
            samples.push(broker.round(|| measure(broker)));
        }
    }
    samples
}

/// Returns a table whose series are compared with the broker that has no guard.
fn table(title: String, load: &str, brokers: &[Guarded], samples: &[Vec<Sample>]) -> Table {
    let series = brokers.iter().zip(samples).map(|(broker, rounds)| {
        let labels = vec![
            ("measure", json!("trust")),
            ("call", json!(load)),
            ("subject", json!(broker.word)),
        ];
        Series::new(labels, calls::figures(rounds))
    });
    let mut series: Vec<_> = series.collect();
    let (none, guarded) = series.split_first_mut().unwrap();
    for series in guarded {
        series.compare(none);
    }
    Table { title, series }
}
