//! The process's way to Redis, which all tenants share: connections, topology, failover.
//!
//! `wire` makes one connection to one server, `topology` knows which server is the primary of which slot,
//! `connections` keeps the connections to a primary. A [`Link`] is what a tenant holds: requests about its
//! slot are sent to the slot's primary, wherever it is (`retry`). A few connections are shared by all callers,
//! so that no caller waits for the answer of another; a write that waits for replicas has one of its own
//! (`exclusive`).

mod connections;
mod exclusive;
pub mod reply;
mod request;
mod retry;
pub mod topology;
mod values;
pub mod wire;

use std::{sync::Arc, time::Duration};

use redis::{Cmd, RedisError, Value};
use tokio::time::Instant;

pub use self::request::Effect;
use self::{
    connections::Sizes,
    exclusive::Replicas,
    request::Request,
    topology::{Server, ServerSet, Topology},
    wire::{AtFault, ConnectError, Connection, Connector, ErrorClass, Peer, code},
};
use super::{
    Durability, RedisOptions,
    scripts::{Call, Script},
};
use crate::store::Error;

/// How long to wait before something is asked again, in milliseconds.
const PAUSE: u64 = 15;

/// The way to the primary of one slot. Cheap to make and to clone: what it leads over is the process's own.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
    slot: u16,
    /// How long a request waits for a primary, or for one that works, before it fails.
    patience: Duration,
}

/// What all links of the process share.
#[derive(Debug)]
struct Shared {
    topology: Topology,
    sizes: Sizes,
    replicas: Option<Replicas>,
    spelling: fn(AtFault) -> &'static str,
}

impl Link {
    /// The way to slot 0, as the first link of the process. Connects when it is used. To be made inside of a
    /// runtime.
    #[must_use]
    pub fn new(options: &RedisOptions) -> Self {
        let connector = Connector {
            access: options.access.clone(),
            peer: Peer::Server,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
        };
        let (exclusive, waiting) = match options.durability {
            Durability::Primary => (0, Duration::ZERO),
            Durability::Replicated {
                connections,
                timeout,
                ..
            } => (connections, timeout),
        };
        let sizes = Sizes {
            shared: options.connections,
            exclusive,
            timeout: options.timeout,
            exclusive_timeout: options.timeout + waiting,
            patience: options.patience(),
        };
        let shared = Shared {
            topology: Topology::new(options.deployment.clone(), connector),
            sizes,
            replicas: Replicas::of(options.durability),
            spelling: options.spelling,
        };
        Self {
            shared: Arc::new(shared),
            slot: 0,
            patience: sizes.patience,
        }
    }

    /// The way to the primary of `slot`, over the same connections.
    #[must_use]
    pub fn to(&self, slot: u16) -> Self {
        Self {
            slot,
            ..self.clone()
        }
    }

    /// The same link, for work that a failover must not end: each request waits for `patience`, where another
    /// server may take over.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        let mut patient = self.clone();
        if self.topology().fails_over() {
            patient.patience = patience;
        }
        patient
    }

    /// How long a request waits for a primary that works.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Where the primaries are.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.shared.topology
    }

    /// Connects once to the primary, and tells what it says of itself.
    ///
    /// # Errors
    /// A [`ConnectError`].
    pub async fn connect(
        &self,
    ) -> Result<(Connection, topology::Facts, super::Address), ConnectError> {
        let primary = self.topology().primary(self.slot).await?;
        let servers = self.topology().servers();
        let (connection, facts) = servers.connect(&primary, self.shared.sizes.timeout).await?;
        Ok((connection, facts, primary.address.clone()))
    }

    /// Which servers hold the tenant's keys.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn server_set(&self) -> Result<ServerSet, Error> {
        let end = Instant::now() + self.patience;
        let (topology, timeout) = (self.topology(), self.shared.sizes.timeout);
        loop {
            match topology.server_set(self.slot, timeout).await {
                Ok(server_set) => return Ok(server_set),
                Err(error) if error.at_fault.is_some() || Instant::now() >= end => {
                    return Err(self.no_connection(Some(&error)));
                }
                Err(_) => {
                    topology
                        .pause(self.slot, Duration::from_millis(PAUSE))
                        .await
                }
            }
        }
    }

    /// A connection to one of the servers that hold keys, for whoever goes through all of them.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also if it is no longer the same server.
    pub async fn connect_to(&self, server: &Server) -> Result<Connection, Error> {
        let servers = self.topology().servers();
        let connected = servers
            .connect_to(&server.address, self.shared.sizes.timeout)
            .await;
        let (connection, facts) = connected.map_err(|error| self.no_connection(Some(&error)))?;
        if facts.run_id != server.run_id {
            return Err(Error::unavailable("a server was restarted meanwhile"));
        }
        Ok(connection)
    }

    /// Sends a command that changes nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`], and [`Error::WrongType`] for a key of another type.
    pub async fn read(&self, cmd: &Cmd) -> Result<Value, Error> {
        self.one(Effect::Reads, Request::Cmd(cmd)).await
    }

    /// Sends a command that changes something.
    ///
    /// # Errors
    /// An [`Error`], which says what is known about the outcome.
    pub async fn write(&self, cmd: &Cmd) -> Result<Value, Error> {
        self.one(Effect::Writes, Request::Cmd(cmd)).await
    }

    /// Calls a script.
    ///
    /// # Errors
    /// An [`Error`], which says what is known about the outcome if the script changes something.
    pub async fn call(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        effect: Effect,
    ) -> Result<Value, Error> {
        self.one(effect, Request::Script(script, keys, args)).await
    }

    /// Sends commands that change nothing, all at once, and gives the answers in their order.
    ///
    /// # Errors
    /// As [`Link::read`], if any of them fails.
    pub async fn read_each(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        self.each(Effect::Reads, Request::Cmds(&cmds), cmds.len())
            .await
    }

    /// Calls scripts, all at once, and gives the answers in their order. Some calls may have been applied and
    /// others not when this fails.
    ///
    /// # Errors
    /// As [`Link::call`], if any of them fails.
    pub async fn call_each(&self, calls: &[Call<'_>], effect: Effect) -> Result<Vec<Value>, Error> {
        self.each(effect, Request::Calls(calls), calls.len()).await
    }

    /// There is no connection, because of `error` where that is known.
    fn no_connection(&self, error: Option<&ConnectError>) -> Error {
        let Some(error) = error else {
            return Error::unavailable("no connection to Redis: no answer in time");
        };
        let setting = error.at_fault.map(self.shared.spelling);
        let setting = setting.map(|setting| format!("{setting}: "));
        let setting = setting.unwrap_or_default();
        Error::unavailable(format!("no connection to Redis: {setting}{error}"))
    }

    async fn one(&self, effect: Effect, request: Request<'_>) -> Result<Value, Error> {
        let answers = self.carry_out(effect, request).await?;
        Ok(answers.into_iter().next().unwrap_or(Value::Nil))
    }

    async fn each(
        &self,
        effect: Effect,
        request: Request<'_>,
        count: usize,
    ) -> Result<Vec<Value>, Error> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut answers = self.carry_out(effect, request).await?;
        for (at, answer) in answers.iter_mut().enumerate() {
            let Value::ServerError(error) = answer else {
                continue;
            };
            let error = RedisError::from(error.clone());
            let part = request
                .part(at)
                .filter(|_| self.helps(&ErrorClass::of(&error)));
            *answer = match part {
                Some(part) => self.one(effect, part).await?,
                None => return Err(failure(&error)),
            };
        }
        Ok(answers)
    }
}

/// What a failed request means, where it surely changed nothing. The operator reads the detail in the log;
/// Redis' own text isn't in it, since it may quote keys and arguments.
pub(super) fn failure(error: &RedisError) -> Error {
    match ErrorClass::of(error) {
        ErrorClass::WrongType => Error::WrongType,
        class => Error::Unavailable(detail(error, &class)),
    }
}

fn detail(error: &RedisError, class: &ErrorClass) -> String {
    match (class, code(error)) {
        (_, Some(code)) => format!("Redis answered {code}"),
        (ErrorClass::Silent, None) => "no answer from Redis in time".to_owned(),
        (_, None) => format!("Redis: {}", error.category()),
    }
}
