//! The broker that is attacked, with a Redis of its own.

use std::net::SocketAddr;

use testkit::{
    broker_process::BrokerProcess,
    redis_server::RedisServer,
    requests::{get_request, store_request, tokens},
};
use token_broker::proto::v1;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tonic::Code;

use crate::memory;

/// The session that has as many rows as it may have, each as large as it may be: 3.8 MiB.
pub const FULL: &str = "full";
/// A session with a few small rows.
pub const SMALL: &str = "small";

/// A busy machine may take longer than usual for an answer of Redis.
pub const PATIENT: [&str; 2] = ["--redis-timeout=4s", "--redis-connect-timeout=4s"];

const KIB: usize = 1024;

/// A target that others are at work beside, or one that has the machine for itself.
enum Machine {
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    Own(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

static MACHINE: RwLock<()> = RwLock::const_new(());

pub struct Target {
    pub broker: BrokerProcess,
    pub redis: RedisServer,
    _machine: Machine,
}

impl Target {
    /// Starts a broker with these arguments. It has [`FULL`] and [`SMALL`].
    pub async fn start(args: &[&str]) -> Self {
        Self::on(Machine::Shared(MACHINE.read().await), args).await
    }

    /// Like [`start`](Self::start), when no other target of this process is at work.
    pub async fn start_alone(args: &[&str]) -> Self {
        Self::on(Machine::Own(MACHINE.write().await), args).await
    }

    async fn on(machine: Machine, args: &[&str]) -> Self {
        let redis = RedisServer::start();
        let url = format!("redis://127.0.0.1:{}", redis.port());
        let mut all = vec!["--backend", "redis", "--redis-url", &url];
        all.extend(args);
        let broker = BrokerProcess::start(&all);
        broker.serving().await;
        let mut client = broker.client().await;
        let full = (0..64).map(|number| store(FULL, &format!("p{number}"), 30 * KIB - 100));
        let small = (0..3).map(|number| store(SMALL, &format!("p{number}"), 600));
        for row in full.chain(small) {
            // The call before it may still hold its place for a moment, although it is answered.
            while let Err(refused) = client.store(row.clone()).await {
                assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
            }
        }
        Self {
            broker,
            redis,
            _machine: machine,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    /// Returns how much memory the broker has, in MiB.
    pub fn memory(&self) -> usize {
        memory::resident(self.broker.pid())
    }

    /// Returns how much memory the broker had at most, in MiB.
    pub fn peak(&self) -> usize {
        memory::peak(self.broker.pid())
    }
}

/// Returns a request that stores a row with two tokens of `bytes` each.
pub fn store(session: &str, provider: &str, bytes: usize) -> v1::StoreRequest {
    let tokens = v1::UpstreamTokens {
        refresh_token: "r".repeat(bytes),
        ..tokens(&"a".repeat(bytes), session)
    };
    store_request(session, provider, tokens)
}

pub fn get(session: &str, provider: &str) -> v1::GetRequest {
    get_request(session, provider)
}

pub fn get_all(session: &str) -> v1::GetAllRequest {
    v1::GetAllRequest {
        session_id: session.to_owned(),
        binding: None,
    }
}
