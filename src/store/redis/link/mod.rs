//! The process's way to Redis: connections, topology, failover. All tenants share it.
//!
//! `wire` makes one connection to one server. `topology` knows which server is the primary of which slot.
//! `connections` keeps the connections to a primary. A tenant holds a [`Link`], which sends requests about
//! the tenant's slot to the slot's primary, whichever server that is (`retry`). All callers share a few
//! connections, and no caller has to wait for another caller's answer. A write that waits for replicas has a
//! connection of its own (`exclusive`).

mod connections;
mod exclusive;
mod lane;
pub mod reply;
mod request;
mod retry;
#[cfg(test)]
mod stand_in;
pub mod topology;
mod values;
mod watch;
pub mod wire;

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{Cmd, PushInfo, RedisError, Value};
use tokio::time::Instant;

pub use self::request::Effect;
use self::{
    connections::Sizes,
    exclusive::Replicas,
    request::Request,
    topology::{Primary, Server, ServerSet, Topology},
    wire::{ConnectError, Connection, Connector, ErrorClass, Opened, Peer, code},
};
use super::{
    Durability, RedisOptions, Spelling,
    largest::Largest,
    scripts::{Call, Script},
};
use crate::store::{Error, LinkFigures};

/// How long to wait before the servers are asked again, in milliseconds.
const PAUSE: u64 = 15;

/// The way to the primary of one slot. It is cheap to make and to clone, because all links share the
/// process's connections.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
    slot: u16,
    /// How long a request waits for a primary that works before it fails.
    patience: Duration,
}

/// The parts that all links of the process share.
#[derive(Debug)]
struct Shared {
    topology: Topology,
    sizes: Sizes,
    replicas: Option<Replicas>,
    largest: Largest,
    spelling: Spelling,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.topology.close();
    }
}

impl Link {
    /// Returns the first link of the process, which leads to slot 0. It connects when it is first used.
    #[must_use]
    pub fn new(options: &RedisOptions) -> Self {
        let connector = Connector {
            access: options.access.clone(),
            peer: Peer::Server,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
            largest: options.largest.clone(),
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
            largest: options.largest.clone(),
            spelling: options.spelling.clone(),
        };
        Self {
            shared: Arc::new(shared),
            slot: 0,
            patience: sizes.patience,
        }
    }

    /// Returns a link to the primary of `slot`. It shares the connections of this one.
    #[must_use]
    pub fn to(&self, slot: u16) -> Self {
        Self {
            slot,
            ..self.clone()
        }
    }

    /// Returns a link for work that must survive a failover. If another server can take over, each of its
    /// requests waits for `patience`.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        let mut patient = self.clone();
        if self.topology().fails_over() {
            patient.patience = patience;
        }
        patient
    }

    /// Returns a link each of whose requests waits for `patience` at most. If there is no connection by then, the error
    /// says why.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        Self {
            patience: self.patience.min(patience),
            ..self.clone()
        }
    }

    /// Returns the figures of the process's links until now.
    #[must_use]
    pub fn figures(&self) -> LinkFigures {
        let topology = self.topology();
        let attempts = topology.servers().attempts();
        LinkFigures {
            connected: attempts.done.get(),
            failed: attempts.failed.get(),
            terms: topology.terms(),
            waiting: self.shared.replicas.as_ref().map_or(0, Replicas::waiting),
        }
    }

    /// Returns how long a request waits for a primary that works.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether each write waits until replicas have it.
    #[must_use]
    pub fn waits_for_replicas(&self) -> bool {
        self.shared.replicas.is_some()
    }

    /// Returns the topology, which knows where the primaries are.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.shared.topology
    }

    /// Connects once to the primary. Returns the connection, what the server says about itself, and its
    /// address.
    ///
    /// # Errors
    /// Returns a [`ConnectError`].
    pub async fn connect(
        &self,
    ) -> Result<(Connection, topology::Facts, super::Address), ConnectError> {
        let primary = self.topology().primary(self.slot).await?;
        let servers = self.topology().servers();
        let (connection, facts) = servers.connect(&primary, self.shared.sizes.timeout).await?;
        Ok((connection, facts, primary.address.clone()))
    }

    /// Connects once more to the primary, to hear what it announces. Returns the connection and the primary. `on_push`
    /// gets what the server sends without being asked, and is called when the connection ends.
    ///
    /// # Errors
    /// Returns a [`ConnectError`].
    pub async fn listen(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<(Opened, Arc<Primary>), ConnectError> {
        let primary = self.topology().primary(self.slot).await?;
        let servers = self.topology().servers();
        let mut opened = servers.listen(&primary.address, on_push).await?;
        opened
            .handle
            .set_response_timeout(self.shared.sizes.timeout);
        Ok((opened, primary))
    }

    /// Returns the servers that hold the tenant's keys.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
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

    /// Connects to one of the servers that hold keys, for work that goes through all of them.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], also if the server was restarted or replaced.
    pub async fn connect_to(&self, server: &Server) -> Result<Connection, Error> {
        let servers = self.topology().servers();
        let connected = servers
            .connect_to(
                &server.address,
                self.shared.sizes.timeout,
                Some(&server.run_id),
            )
            .await;
        let (connection, facts) = connected.map_err(|error| self.no_connection(Some(&error)))?;
        if facts.run_id != server.run_id || facts.replication_id != server.replication_id {
            let why = "a server was restarted or replaced meanwhile";
            return Err(Error::unavailable(why));
        }
        Ok(connection)
    }

    /// Sends a command that changes nothing.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], or [`Error::WrongType`] if a key holds another type of value.
    pub async fn read(&self, cmd: &Cmd) -> Result<Value, Error> {
        self.one(Effect::Reads, Request::Cmd(cmd)).await
    }

    /// Returns what the primary says about itself in a section of `INFO`, by name.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn info(&self, section: &str) -> Result<HashMap<String, String>, Error> {
        let mut info = redis::cmd("INFO");
        info.arg(section);
        Ok(reply::info(self.read(&info).await?))
    }

    /// Sends a command that changes something.
    ///
    /// # Errors
    /// Returns an [`Error`] that says what is known about the outcome.
    pub async fn write(&self, cmd: &Cmd) -> Result<Value, Error> {
        self.one(Effect::Writes, Request::Cmd(cmd)).await
    }

    /// Calls a script.
    ///
    /// # Errors
    /// Returns an [`Error`]. If the script changes something, the error says what is known about the outcome.
    pub async fn call(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        effect: Effect,
    ) -> Result<Value, Error> {
        self.one(effect, Request::Script(script, keys, args)).await
    }

    /// Sends commands that change nothing, all at once. Returns the answers in the order of the commands.
    ///
    /// # Errors
    /// Returns the errors of [`Link::read`], if any of the commands fails.
    pub async fn read_each(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        self.each(Effect::Reads, Request::Cmds(&cmds), cmds.len())
            .await
    }

    /// Calls scripts, all at once. Returns the answers in the order of the calls. If this fails, some calls
    /// may have been applied and others not.
    ///
    /// # Errors
    /// Returns the errors of [`Link::call`], if any of the calls fails.
    pub async fn call_each(&self, calls: &[Call<'_>], effect: Effect) -> Result<Vec<Value>, Error> {
        self.each(effect, Request::Calls(calls), calls.len()).await
    }

    /// Returns the error for a missing connection. `error` is the reason, if it is known.
    fn no_connection(&self, error: Option<&ConnectError>) -> Error {
        let Some(error) = error else {
            return Error::unavailable("no connection to Redis: no answer in time");
        };
        let reason = error.explain(&self.shared.spelling);
        Error::unavailable(format!("no connection to Redis: {reason}"))
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

/// Returns the error for a failed request that surely changed nothing. Its detail is for the log. It doesn't
/// quote Redis' own text, which may contain keys and arguments.
pub(super) fn failure(error: &RedisError) -> Error {
    match ErrorClass::of(error) {
        ErrorClass::WrongType => Error::WrongType,
        class @ (ErrorClass::Demoted
        | ErrorClass::Moved(_)
        | ErrorClass::Ask(_)
        | ErrorClass::Passing
        | ErrorClass::TooFewReplicas
        | ErrorClass::Refused
        | ErrorClass::Unauthenticated
        | ErrorClass::Silent
        | ErrorClass::Ended) => Error::Unavailable(detail(error, &class)),
    }
}

fn detail(error: &RedisError, class: &ErrorClass) -> String {
    match (class, code(error)) {
        (_, Some(code)) => format!("Redis answered {code}"),
        (ErrorClass::Silent, None) => "no answer from Redis in time".to_owned(),
        (_, None) => format!("Redis: {}", error.category()),
    }
}
