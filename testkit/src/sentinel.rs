//! A primary, two replicas and three sentinels that watch them. All are real servers on free ports.
//!
//! The sentinels, the other servers and the clients all reach a server through its [`Link`], whose
//! port the server announces. A test can thus cut the replication of a server, or hide the server
//! from the sentinels, while clients still reach it ([`Sentinels::cut`], [`Sentinels::isolate`]).

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    deployment::{Deployment, Eyes, Setting},
    launch::{Launch, Program},
    link::{Cuts, Link},
    redis_server::{PROMPT, RedisServer},
    security::{BROKER_PASSWORD, Security},
    switches::Switches,
};

/// The name that the sentinels give to the servers.
pub const MASTER: &str = "mymaster";

/// How the deployment is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that each server runs.
    pub program: Program,
    /// After how long a silent server counts as down. Sentinels of Redis 6.2 send a PING only every
    /// second, so they need a few seconds.
    pub down_after: Duration,
    /// How long a failover may take. The next failover begins after twice this time at the
    /// earliest.
    pub failover_timeout: Duration,
    /// Which clients the servers accept.
    pub security: Security,
    /// Additional lines of configuration for each server.
    pub server: Vec<String>,
    /// Additional lines of configuration for each sentinel.
    pub sentinel: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: Program::Usual,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(3),
            security: Security::NONE,
            server: Vec::new(),
            sentinel: Vec::new(),
        }
    }
}

/// The servers and their sentinels.
pub struct Sentinels {
    /// The servers. The test's connections to them don't go through the links.
    pub servers: Vec<RedisServer>,
    /// The sentinels, which watch the servers through their links.
    pub sentinels: Vec<RedisServer>,
    /// The changes of the primary that the sentinels reported.
    pub switches: Switches,
    security: Security,
    pub(crate) links: Vec<Link>,
    pub(crate) cuts: watch::Sender<Cuts>,
}

impl Sentinels {
    /// Starts the servers and sentinels. Server 0 is the primary. The sentinels know each other
    /// once [`Sentinels::settled`] returns.
    pub fn start(options: &Options) -> Self {
        let cuts = watch::Sender::new(Cuts::default());
        let links: Vec<_> = (0..3).map(|_| Link::new(&cuts)).collect();
        let primary = links[0].port();
        let mut servers = Vec::new();
        for (i, link) in links.iter().enumerate() {
            let launch = Launch::new(options.program).lines([
                "replica-announce-ip 127.0.0.1".to_owned(),
                format!("replica-announce-port {}", link.port()),
                "repl-diskless-sync yes".to_owned(),
            ]);
            let replica = (i > 0).then(|| format!("replicaof 127.0.0.1 {primary}"));
            let launch = launch.lines(replica).lines(options.server.iter().cloned());
            let server = options.security.of_server(launch).start();
            link.lead_to(options.security.port(&server));
            servers.push(server);
        }
        let sentinels: Vec<_> = (0..3)
            .map(|i| sentinel(options, primary, i == 2).start())
            .collect();
        for sentinel in &sentinels {
            hurry(sentinel);
        }
        Self {
            switches: Switches::watch(&sentinels),
            servers,
            sentinels,
            security: options.security,
            links,
            cuts,
        }
    }

    /// Returns the URL by which a broker reaches the primary.
    pub fn url(&self) -> String {
        let sentinels = self.sentinels.iter();
        let hosts: Vec<_> = sentinels
            .map(|sentinel| format!("127.0.0.1:{}", self.security.port(sentinel)))
            .collect();
        let start = self.security.url_start("+sentinel");
        format!("{start}{}/{MASTER}", hosts.join(","))
    }

    /// Returns the server that at least two sentinels call the primary.
    pub fn primary(&self) -> Option<usize> {
        let clients = self.sentinels.iter().map(RedisServer::client);
        let told: Vec<_> = clients.filter_map(|client| told_by(&client)).collect();
        let agreed = |port: u16| told.iter().filter(|told| **told == port).count() > 1;
        self.links.iter().position(|link| agreed(link.port()))
    }

    /// Returns the port that a server announces, and by which all peers reach it.
    pub fn link_port(&self, server: usize) -> u16 {
        self.links[server].port()
    }

    /// Returns the sentinels' logs.
    pub fn logs(&self) -> String {
        let logs = self.sentinels.iter().map(RedisServer::log);
        logs.collect::<Vec<_>>().join("\n")
    }
}

/// Starts a sentinel. The last sentinel is slow to notice failures. If three sentinels noticed one
/// in the same millisecond, each would vote for itself, and they would try again only after twice
/// the failover timeout.
fn sentinel(options: &Options, primary: u16, slow: bool) -> Launch {
    let down_after = options.down_after.as_millis() * if slow { 3 } else { 1 };
    let timeout = options.failover_timeout.as_millis();
    let launch = Launch::new(options.program)
        .sentinel()
        .lines([
            format!("sentinel monitor {MASTER} 127.0.0.1 {primary} 2"),
            format!("sentinel down-after-milliseconds {MASTER} {down_after}"),
            format!("sentinel failover-timeout {MASTER} {timeout}"),
            format!("sentinel parallel-syncs {MASTER} 2"),
        ])
        .lines(options.sentinel.iter().cloned());
    options.security.of_sentinel(launch)
}

/// Makes a sentinel check and publish more often than every one, two or ten seconds. The periods
/// can't be chosen freely:
///
/// - A new connection gets its first PING after one period. If the period isn't much shorter than
///   `down_after`, a healthy server counts as down.
/// - A replica that was silent for five periods of PING can't be promoted, and during a failover the
///   sentinel asks all replicas once a second.
/// - A sentinel turns a primary that it doesn't know into a replica after four periods of publishing.
///   A server that was just promoted is unknown to the other sentinels until the sentinel that leads
///   the failover has noticed the promotion, which it checks once a second, and has published it.
///
/// Redis 6.2 can't change these periods, so `down_after` must be a few seconds there.
fn hurry(sentinel: &RedisServer) {
    for (period, ms) in [
        ("ping", "300"),
        ("info", "100"),
        ("publish", "600"),
        ("ask", "200"),
    ] {
        let command = ["SENTINEL", "DEBUG", &format!("{period}-period"), ms];
        sentinel.ask::<()>(&command).ok();
    }
}

impl Deployment for Sentinels {
    fn settings(&self) -> Vec<Setting> {
        let mut settings = self.security.settings(&self.servers[0]);
        if self.security.acl {
            settings.extend([
                ("redis-sentinel-username", "broker".to_owned()),
                ("redis-sentinel-password", BROKER_PASSWORD.to_owned()),
            ]);
        }
        settings.push(("redis-url", self.url()));
        settings
    }

    /// Connects to the server that most sentinels call the primary.
    fn eyes(&self) -> Eyes {
        let clients = self.servers.iter().map(RedisServer::client);
        let ports = self.links.iter().map(Link::port);
        let servers: Vec<_> = ports.zip(clients).collect();
        let sentinels: Vec<_> = self.sentinels.iter().map(RedisServer::client).collect();
        Arc::new(move |_| {
            let told: Vec<_> = sentinels.iter().filter_map(told_by).collect();
            let agreed = |port: u16| told.iter().filter(|told| **told == port).count() > 1;
            let primary = servers.iter().find(|(port, _)| agreed(*port));
            primary.expect("a primary").1.get_connection().unwrap()
        })
    }
}

/// Returns the port of the server that a sentinel calls the primary.
pub(crate) fn told_by(sentinel: &redis::Client) -> Option<u16> {
    let mut connection = sentinel.get_connection_with_timeout(PROMPT).ok()?;
    connection.set_read_timeout(Some(PROMPT)).ok()?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER);
    let (_, port): (String, u16) = ask.query(&mut connection).ok()?;
    Some(port)
}

impl Drop for Sentinels {
    /// If a test fails, the sentinels' logs show why.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
