//! A primary, two replicas and three sentinels that watch them, all real, on free ports.
//!
//! Everybody, the sentinels, the other servers and the clients, reaches a server by its [`Link`],
//! the port of which it announces. So a test cuts the replication of a server, or hides it from the
//! sentinels, while its clients still reach it ([`Sentinels::cut`], [`Sentinels::isolate`]).

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

/// What the sentinels call the servers.
pub const MASTER: &str = "mymaster";

/// How the deployment is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that each server runs.
    pub program: Program,
    /// After how long a silent server counts as down. Sentinels of Redis 6.2 ask every second: there
    /// it has to be a few.
    pub down_after: Duration,
    /// How long a failover may take; the next one begins after twice that at the earliest.
    pub failover_timeout: Duration,
    /// Whom the servers let in.
    pub security: Security,
    /// More lines of configuration for each server.
    pub server: Vec<String>,
    /// More lines of configuration for each sentinel.
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
    /// Each speaks for itself: its connections don't go along its link.
    pub servers: Vec<RedisServer>,
    /// The sentinels, which watch the servers by their links.
    pub sentinels: Vec<RedisServer>,
    /// When which primary was followed by which.
    pub switches: Switches,
    security: Security,
    pub(crate) links: Vec<Link>,
    pub(crate) cuts: watch::Sender<Cuts>,
}

impl Sentinels {
    /// Starts them; server 0 is the primary. They know of each other when [`Sentinels::settled`].
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
                "repl-diskless-sync-delay 0".to_owned(),
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

    /// How a broker reaches the primary.
    pub fn url(&self) -> String {
        let sentinels = self.sentinels.iter();
        let hosts: Vec<_> = sentinels
            .map(|sentinel| format!("127.0.0.1:{}", self.security.port(sentinel)))
            .collect();
        let start = self.security.url_start("+sentinel");
        format!("{start}{}/{MASTER}", hosts.join(","))
    }

    /// The server that most sentinels call the primary, where two agree.
    pub fn primary(&self) -> Option<usize> {
        let clients = self.sentinels.iter().map(RedisServer::client);
        let told: Vec<_> = clients.filter_map(|client| told_by(&client)).collect();
        let agreed = |port: u16| told.iter().filter(|told| **told == port).count() > 1;
        self.links.iter().position(|link| agreed(link.port()))
    }

    /// The port that a server announces, and that everybody reaches it by.
    pub fn link_port(&self, server: usize) -> u16 {
        self.links[server].port()
    }

    /// What the sentinels wrote to their logs.
    pub fn logs(&self) -> String {
        let logs = self.sentinels.iter().map(RedisServer::log);
        logs.collect::<Vec<_>>().join("\n")
    }
}

/// One sentinel. The last one is slow to notice: three that notice in the same millisecond each vote
/// for themselves, and try again only after twice the failover timeout.
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

/// Has a sentinel look around and speak more often than every second, two or ten. There is little
/// room:
///
/// - A new connection gets its first PING after a period. If that isn't much shorter than
///   `down_after`, a server that is well counts as down.
/// - A replica of which nothing was heard for five periods of PING can't be promoted, and in a
///   failover all replicas are asked once a second.
/// - A sentinel makes a primary that it doesn't know of a replica after four periods of publishing.
///   One that was just promoted is such a primary, until the one that leads the failover has seen
///   its success, which it looks for once a second, and published it.
///
/// Redis 6.2 doesn't know how to hurry: there `down_after` has to be a few seconds.
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

    /// Of the server that most sentinels call the primary.
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

/// The port of the server that a sentinel calls the primary.
fn told_by(sentinel: &redis::Client) -> Option<u16> {
    let mut connection = sentinel.get_connection_with_timeout(PROMPT).ok()?;
    connection.set_read_timeout(Some(PROMPT)).ok()?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER);
    let (_, port): (String, u16) = ask.query(&mut connection).ok()?;
    Some(port)
}

impl Drop for Sentinels {
    /// Where a test fails, the sentinels know why.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
