//! The servers that are measured. Each is a process of its own, and each broker has a Redis of its own.

use std::net::SocketAddr;

use testkit::{
    broker_process::BrokerProcess, launch::Launch, redis_server::RedisServer, replica::follow,
};
use tokio::runtime::Runtime;

use crate::{
    capture::{self, Commands},
    client::Place,
    closed_loop,
    floor::Echo,
    options::Options,
    process::{Process, Role},
    requests::Method,
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The floor of the others: the bare server of [`crate::floor`].
    Echo,
    /// The floor of the store: the broker's commands to Redis, sent without a broker.
    Raw,
    Memory,
    Redis,
    /// Redis with a replica that writes wait for.
    Replicated,
}

impl Subject {
    pub(crate) const ALL: [Self; 5] = [
        Self::Echo,
        Self::Raw,
        Self::Memory,
        Self::Redis,
        Self::Replicated,
    ];

    /// Returns the word for it on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Raw => "raw",
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Replicated => "replicated",
        }
    }
}

/// A server that runs. Its processes end when it is dropped.
pub(crate) struct Server {
    pub(crate) subject: Subject,
    pub(crate) target: Target,
    pub(crate) processes: Vec<Process>,
    pub(crate) broker: Option<BrokerProcess>,
    pub(crate) redis: Option<RedisServer>,
    _replica: Option<RedisServer>,
    _echo: Option<Echo>,
}

/// What the calls go to.
pub(crate) enum Target {
    Grpc(Place),
    /// The commands of each method, and the Redis.
    Raw(Vec<(Method, Commands)>, redis::Client),
}

impl Server {
    /// Starts a server, and stores the rows.
    pub(crate) fn start(subject: Subject, options: &Options, runtime: &Runtime) -> Self {
        if subject == Subject::Echo {
            let echo = Echo::start();
            return Self {
                subject,
                target: Target::Grpc(echo.address.into()),
                processes: vec![client(), Process::new(Role::Server, echo.pid())],
                broker: None,
                redis: None,
                _replica: None,
                _echo: Some(echo),
            };
        }
        let mut server = Self::empty(subject, &options.broker_args, runtime);
        closed_loop::fill(server.place(), 0..options.sizes.sessions);
        if subject == Subject::Raw {
            let redis = server.redis.as_ref().unwrap();
            let commands = Method::ALL.map(|method| {
                let commands = capture::commands(server.place(), redis, method, options);
                (method, commands)
            });
            server.target = Target::Raw(commands.into(), client_of(redis));
            server.broker = None;
            server
                .processes
                .retain(|process| process.role != Role::Server);
        }
        server
    }

    /// Starts a broker without rows, with these additional arguments.
    pub(crate) fn empty(subject: Subject, args: &[String], runtime: &Runtime) -> Self {
        let redis = (subject != Subject::Memory).then(RedisServer::start);
        let mut args = args.to_vec();
        if subject == Subject::Memory {
            args.retain(|arg| !arg.starts_with("--redis-"));
        }
        if let Some(redis) = &redis {
            args.push("--backend=redis".to_owned());
            args.push(format!("--redis-url={}", redis.url()));
            wait_longer(&mut args, "--redis-timeout");
        }
        let mut replica = None;
        if let (Subject::Replicated, Some(redis)) = (subject, &redis) {
            args.push("--durability=replicated".to_owned());
            wait_longer(&mut args, "--durability-timeout");
            replica = Some(runtime.block_on(follow(redis, Launch::default())));
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let broker = BrokerProcess::start(&args);
        runtime.block_on(broker.serving());

        let mut processes = vec![client(), Process::new(Role::Server, broker.pid())];
        processes.extend(
            redis
                .as_ref()
                .map(|redis| Process::new(Role::Redis, pid(redis))),
        );
        processes.extend(
            replica
                .as_ref()
                .map(|replica| Process::new(Role::Replica, pid(replica))),
        );
        Self {
            subject,
            target: Target::Grpc(broker.address().into()),
            processes,
            broker: Some(broker),
            redis,
            _replica: replica,
            _echo: None,
        }
    }

    /// Returns the process of the broker or the echo.
    pub(crate) fn process(&self) -> Process {
        let found = self.processes.iter().find(|p| p.role == Role::Server);
        *found.expect("a server of gRPC")
    }

    /// Returns the address of a server that speaks gRPC.
    pub(crate) fn address(&self) -> SocketAddr {
        self.place().address
    }

    /// Returns how to connect to a server that speaks gRPC.
    pub(crate) fn place(&self) -> &Place {
        match &self.target {
            Target::Grpc(place) => place,
            Target::Raw(..) => panic!("no gRPC"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(broker) = &self.broker
        {
            eprintln!("the log of {}:\n{}", self.subject.word(), broker.log());
        }
    }
}

/// Has the broker wait longer than the second of the default, unless the arguments say how long. A machine that stands still
/// for a second would end the run: a write whose answer comes too late is refused, because its outcome isn't known.
fn wait_longer(args: &mut Vec<String>, flag: &str) {
    if !args.iter().any(|arg| arg.starts_with(flag)) {
        args.push(format!("{flag}=5s"));
    }
}

fn client() -> Process {
    Process::new(Role::Client, std::process::id())
}

/// Returns a client whose connections send small packets at once, as the broker's do.
fn client_of(redis: &RedisServer) -> redis::Client {
    use redis::{IntoConnectionInfo, io::tcp::TcpSettings};
    let info = redis.url().into_connection_info().unwrap();
    let settings = TcpSettings::default().set_nodelay(true);
    redis::Client::open(info.set_tcp_settings(settings)).unwrap()
}

/// Returns the process of a Redis.
pub(crate) fn redis_process(redis: &RedisServer) -> Process {
    Process::new(Role::Redis, pid(redis))
}

fn pid(redis: &RedisServer) -> u32 {
    let info: String = redis.ask(&["INFO", "server"]).unwrap();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    pid.unwrap().parse().unwrap()
}
