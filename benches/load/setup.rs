//! Starts the servers that are measured, and connects to them.

use std::{env, time::Duration};

use testkit::{
    broker_process::BrokerProcess, launch::Launch, redis_server::RedisServer, replica::follow,
};
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tonic::transport::Channel;

use crate::{
    cpu::Process,
    driver::{self, Call},
    rows,
};

/// The number of connections to the broker. The callers share them.
pub(crate) const CONNECTIONS: usize = 4;

pub(crate) type Client = TokenBrokerClient<Channel>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Redis,
    /// Redis with a replica that writes wait for.
    Replicated,
}

/// A figure to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Calls(Call),
    DeleteUser,
}

/// What to measure, and for how long.
pub(crate) struct Options {
    pub(crate) backends: Vec<Backend>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
    pub(crate) broker_args: Vec<String>,
}

impl Options {
    pub(crate) fn from_env() -> Self {
        let (mut backends, mut subjects) = (Vec::new(), Vec::new());
        let mut broker_args = Vec::new();
        for arg in env::args().skip(1) {
            match arg.as_str() {
                // Cargo adds this argument.
                "--bench" => {}
                "memory" => backends.push(Backend::Memory),
                "redis" => backends.push(Backend::Redis),
                "replicated" => backends.push(Backend::Replicated),
                "get" => subjects.push(Subject::Calls(Call::Get)),
                "get-all" => subjects.push(Subject::Calls(Call::GetAll)),
                "store" => subjects.push(Subject::Calls(Call::Store)),
                "delete-user" => subjects.push(Subject::DeleteUser),
                flag if flag.starts_with("--") => broker_args.push(arg),
                other => panic!("{other} is neither something to measure nor a flag of the broker"),
            }
        }
        if backends.is_empty() {
            backends = vec![Backend::Memory, Backend::Redis, Backend::Replicated];
        }
        if subjects.is_empty() {
            subjects = [Call::Get, Call::GetAll, Call::Store]
                .map(Subject::Calls)
                .into();
            subjects.push(Subject::DeleteUser);
        }
        let number = |name| env::var(name).ok().map(|text| text.parse::<u32>().unwrap());
        Self {
            backends,
            subjects,
            rounds: number("LOAD_ROUNDS").unwrap_or(5) as usize,
            span: Duration::from_secs(number("LOAD_SECONDS").unwrap_or(3).into()),
            broker_args,
        }
    }
}

/// Everything that runs while one backend is measured.
pub(crate) struct Setup {
    pub(crate) clients: Vec<Client>,
    pub(crate) processes: Vec<Process>,
    _broker: BrokerProcess,
    _redis: Option<RedisServer>,
    _replica: Option<RedisServer>,
}

impl Setup {
    pub(crate) async fn new(backend: Backend, options: &Options) -> Self {
        let redis = (backend != Backend::Memory).then(RedisServer::start);
        let mut args = options.broker_args.clone();
        if let Some(redis) = &redis {
            args.extend([
                "--backend=redis".to_owned(),
                format!("--redis-url={}", redis.url()),
            ]);
        }
        let mut replica = None;
        if let (Backend::Replicated, Some(redis)) = (backend, &redis) {
            args.push("--durability=replicated".to_owned());
            replica = Some(follow(redis, Launch::default()).await);
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let broker = BrokerProcess::start(&args);
        broker.serving().await;

        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = broker.client().await;
            // Responses of GetAll may be larger than tonic's default.
            clients.push(client.max_decoding_message_size(usize::MAX));
        }
        let mut processes = vec![
            Process::new("broker", broker.pid()),
            Process::new("client", std::process::id()),
        ];
        if let Some(redis) = &redis {
            processes.push(Process::new("Redis", pid(redis)));
        }
        if let Some(replica) = &replica {
            processes.push(Process::new("replica", pid(replica)));
        }
        Self {
            clients,
            processes,
            _broker: broker,
            _redis: redis,
            _replica: replica,
        }
    }

    /// Stores the rows that are read later.
    pub(crate) async fn fill(&self) {
        driver::each(
            &self.clients,
            rows::all().collect(),
            |mut client, row| async move {
                client.store(rows::store(row)).await.unwrap();
            },
        )
        .await;
    }
}

fn pid(redis: &RedisServer) -> u32 {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query(&mut connection)
        .unwrap();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    pid.unwrap().parse().unwrap()
}
