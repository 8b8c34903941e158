//! The connections to Redis, and what is sent over them: to the primary, wherever it is, and again where
//! that is safe.
//!
//! A few connections are shared by all callers: nobody waits for somebody else's answer. Writes that wait
//! for replicas have connections of their own (`durable`).

mod exclusive;
mod manager;
pub mod reply;
mod request;
pub mod topology;
mod values;
pub mod wire;

use std::{sync::Arc, time::Duration};

use bb8_redis::bb8::{self, NopErrorSink, RunError};
use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::time::{Instant, timeout_at};

pub use self::request::Effect;
use self::{
    exclusive::Durable,
    manager::{LastFailure, Manager},
    request::{Line, Request},
};
use self::{
    topology::{Server, ServerSet, Topology},
    wire::{Connection, ErrorClass, code},
};
use super::{
    RedisOptions,
    scripts::{Call, Script},
};
use crate::error::{Error, StoreFailure, Unreadable};

/// How long to wait before a request is sent again, in milliseconds; twice as long each time, so that a crowd
/// doesn't keep a server from getting well.
const PAUSE: std::ops::Range<u64> = 5..15;
/// How often that is doubled.
const LONGEST: u32 = 4;

/// Owns the life of the connections. Clones share them.
#[derive(Debug, Clone)]
pub struct Link {
    topology: Arc<Topology>,
    connections: bb8::Pool<Manager>,
    size: u32,
    durable: Option<Durable>,
    last: LastFailure,
    /// How long a request waits for a primary, or for one that works, before it fails.
    patience: Duration,
    timeout: Duration,
}

impl Link {
    /// A pool that connects at once, in the background, and again when a connection ended. To be made inside of a
    /// runtime.
    #[must_use]
    pub fn new(topology: Topology, options: &RedisOptions) -> Self {
        let topology = Arc::new(topology);
        let last = LastFailure::default();
        let patience = if topology.fails_over() {
            options.failover_wait
        } else {
            options.connect_timeout
        };
        let manager = Manager::new(
            Arc::clone(&topology),
            options.timeout,
            patience,
            last.clone(),
        );
        let size = options.connections;
        Self {
            connections: connections(manager, size, size, patience),
            size,
            durable: Durable::new(&topology, options, &last, patience),
            topology,
            last,
            patience,
            timeout: options.timeout,
        }
    }

    /// The same pool, for work that a failover must not end: each request waits for `patience`, where another
    /// server may take over.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        let mut patient = self.clone();
        if self.topology.fails_over() {
            patient.patience = patience;
        }
        patient
    }

    /// Which servers hold the tenant's keys.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], as for the other methods.
    pub async fn server_set(&self) -> Result<ServerSet, Error> {
        let end = Instant::now() + self.patience;
        loop {
            match self.topology.server_set(self.timeout).await {
                Ok(server_set) => return Ok(server_set),
                Err(error) if error.setting.is_some() || Instant::now() >= end => {
                    return Err(no_connection(&error));
                }
                Err(_) => self.topology.pause(Duration::from_millis(PAUSE.end)).await,
            }
        }
    }

    /// A connection to one of the servers that hold keys, for whoever goes through all of them.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], also if it is no longer the same server.
    pub async fn connect_to(&self, server: &Server) -> Result<Connection, Error> {
        let connected = self
            .topology
            .connect_to(&server.address, self.timeout)
            .await;
        let (connection, facts) = connected.map_err(|error| no_connection(&error))?;
        if facts.run_id != server.run_id {
            return Err(Error::store_unavailable("a server was restarted meanwhile"));
        }
        Ok(connection)
    }

    /// Where the primary is.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Sends a command that changes nothing.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], as for the other methods.
    pub async fn read(&self, cmd: &Cmd) -> Result<Value, Error> {
        self.one(Effect::Reads, Request::Cmd(cmd)).await
    }

    /// Sends a command that changes something.
    ///
    /// # Errors
    /// As [`Link::call`].
    pub async fn write(&self, cmd: &Cmd, effect: Effect) -> Result<Value, Error> {
        self.one(effect, Request::Cmd(cmd)).await
    }

    /// Calls a script.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], and [`Error::NotDurable`] if it changes something and replicas were to
    /// be waited for in vain.
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
    /// [`Error::StoreUnavailable`] if any of them fails.
    pub async fn read_each(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        self.each(Effect::Reads, Request::Cmds(&cmds), cmds.len())
            .await
    }

    /// Calls scripts, all at once, and gives the answers in their order. Some calls may be done
    /// and others not when this fails.
    ///
    /// # Errors
    /// As [`Link::call`], if any of them fails.
    pub async fn call_each(&self, calls: &[Call<'_>], effect: Effect) -> Result<Vec<Value>, Error> {
        self.each(effect, Request::Calls(calls), calls.len()).await
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

    /// Sends `request` until it is answered, as often as that is safe and there is time.
    async fn carry_out(&self, effect: Effect, request: Request<'_>) -> Result<Vec<Value>, Error> {
        let end = Instant::now() + self.patience;
        let durable = self.durable.as_ref().filter(|_| effect != Effect::Reads);
        let mut importing = None;
        let mut tries = 0;
        loop {
            let answer = match durable {
                Some(durable) => self.send_durable(durable, request, end).await?,
                None => {
                    let mut connection = match importing.take() {
                        Some(connection) => connection,
                        None => self.connection(end).await?,
                    };
                    let connection = &mut connection;
                    let then = None;
                    request.send(&mut Line { connection, then }).await
                }
            };
            let error = match answer {
                Ok(answers) => match durable {
                    Some(durable) => return durable.check(answers),
                    None => return Ok(answers),
                },
                Err(error) => error,
            };
            tries += 1;
            let class = ErrorClass::of(&error);
            self.topology.note(&class);
            let is_safe = class.is_not_applied() || effect != Effect::Once;
            if !is_safe || !self.helps(&class) || Instant::now() >= end {
                return Err(failure(&error));
            }
            if let ErrorClass::Ask(Some(address)) = &class
                && effect == Effect::Reads
                && !request.runs_scripts()
            {
                importing = self.topology.connect_importing(address).await.ok();
            }
            // Every connection there is may have ended, each to be found out by a request.
            if importing.is_none() && (class != ErrorClass::Ended || tries > self.size) {
                let pause = rand::random_range(PAUSE) << tries.min(LONGEST);
                self.topology.pause(Duration::from_millis(pause)).await;
            }
        }
    }

    /// Whether it helps to send a request again.
    fn helps(&self, class: &ErrorClass) -> bool {
        match class {
            ErrorClass::Passing
            | ErrorClass::Silent
            | ErrorClass::Ended
            | ErrorClass::Unauthenticated => true,
            // With a single server, nobody else will do it.
            ErrorClass::Demoted | ErrorClass::TooFewReplicas => self.topology.fails_over(),
            ErrorClass::Moved(_) | ErrorClass::Ask(_) => self.topology.is_cluster(),
            ErrorClass::Refused | ErrorClass::WrongType => false,
        }
    }

    async fn connection(&self, end: Instant) -> Result<Connection, Error> {
        loop {
            let guard = self.guard(&self.connections, end).await?;
            // The pool asks `has_broken` only when it gets a guard back: a connection that broke
            // while it lay idle is found here, and replaced when the guard is dropped.
            if guard.is_broken() {
                continue;
            }
            let connection = guard.clone();
            drop(guard);
            if self.is_sure(end).await? {
                return Ok(connection);
            }
        }
    }

    async fn guard<'p>(
        &self,
        pool: &'p bb8::Pool<Manager>,
        end: Instant,
    ) -> Result<bb8::PooledConnection<'p, Manager>, Error> {
        loop {
            match timeout_at(end, pool.get()).await {
                Ok(Ok(guard)) => return Ok(guard),
                Ok(Err(RunError::User(error))) => return Err(no_connection(&error)),
                // The pool's own patience is that of a call.
                Ok(Err(RunError::TimedOut)) if Instant::now() < end => {}
                Ok(Err(RunError::TimedOut)) | Err(_) => {
                    return Err(no_connection(&self.last.text()));
                }
            }
        }
    }

    /// Whether the server that a connection leads to still is the primary, where that matters. Waits, if it isn't
    /// known, and gives `false`: by then the connection may be an old one.
    async fn is_sure(&self, end: Instant) -> Result<bool, Error> {
        if self.durable.is_none() || self.topology.is_confirmed() {
            return Ok(true);
        }
        while !self.topology.is_confirmed() {
            if Instant::now() >= end {
                return Err(Error::store_unavailable(
                    "no majority of the sentinels confirms which server is the primary",
                ));
            }
            self.topology.pause(Duration::from_millis(PAUSE.end)).await;
        }
        Ok(false)
    }

    /// Sends a request over a connection of its own, and what waits for replicas behind it.
    async fn send_durable(
        &self,
        durable: &Durable,
        request: Request<'_>,
        end: Instant,
    ) -> Result<RedisResult<Vec<Value>>, Error> {
        loop {
            let guard = self.guard(&durable.connections, end).await;
            let mut guard = guard.map_err(|error| match self.last.is_none() {
                true => not_durable("all durability-connections wait for replicas".to_owned()),
                false => error,
            })?;
            if guard.is_broken() || !self.is_sure(end).await? {
                continue;
            }
            guard.set_busy(true);
            let then = Some(durable.wait());
            let connection = &mut *guard;
            let answer = request.send(&mut Line { connection, then }).await;
            guard.set_busy(false);
            return Ok(answer);
        }
    }
}

/// A pool of bb8's that gives up on nothing by itself.
fn connections(manager: Manager, size: u32, idle: u32, wait: Duration) -> bb8::Pool<Manager> {
    bb8::Pool::builder()
        .max_size(size)
        .min_idle(idle)
        .connection_timeout(wait)
        .test_on_check_out(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .error_sink(Box::new(NopErrorSink))
        .build_unchecked(manager)
}

fn no_connection(why: &dyn std::fmt::Display) -> Error {
    Error::store_unavailable(format!("no connection to Redis: {why}"))
}

/// What a failed request means. The operator reads the detail in the log; Redis' own text isn't in
/// it, since it may quote keys and arguments.
pub(super) fn failure(error: &RedisError) -> Error {
    let detail = match (ErrorClass::of(error), code(error)) {
        (ErrorClass::WrongType, _) => {
            return Error::RowUnreadable(Unreadable(
                "a key holds another type of value".to_owned(),
            ));
        }
        (_, Some(code)) => format!("Redis answered {code}"),
        (ErrorClass::Silent, None) => "no answer from Redis in time".to_owned(),
        (_, None) => format!("Redis: {}", error.category()),
    };
    Error::store_unavailable(detail)
}

/// A write that too few replicas have.
fn not_durable(detail: String) -> Error {
    Error::NotDurable(StoreFailure(detail))
}
