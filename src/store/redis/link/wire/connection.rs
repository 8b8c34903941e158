//! A connection over which any number of callers can send at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection,
};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::{Opened, clock::Clock, error_class::ErrorClass, finished::Finished, life::Life};

/// A connection. Clones share it. It ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: MultiplexedConnection,
    state: Arc<ConnectionState>,
    /// How long an answer may take.
    timeout: Duration,
    asking: bool,
}

/// The state of a connection, and the handle that ends it.
#[derive(Debug)]
pub struct ConnectionState {
    life: Arc<Life>,
    clock: Clock,
    is_replica: AtomicBool,
    driver: AbortHandle,
}

impl Connection {
    /// Returns a connection whose answers may take `timeout`.
    pub fn new(opened: Opened, timeout: Duration) -> Self {
        let state = ConnectionState {
            life: opened.life,
            clock: Clock::default(),
            is_replica: AtomicBool::new(false),
            driver: opened.driver,
        };
        Self {
            handle: opened.handle,
            state: Arc::new(state),
            timeout,
            asking: false,
        }
    }

    /// Whether the connection has to be replaced: it ended, or its server can't be used.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state.life.is_over()
    }

    /// Returns how long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the latest moment at which a request that is sent now may begin, in microseconds of the server's clock,
    /// for scripts: when nobody waits for the answer any more, and at `end` at the latest. Returns nothing if the
    /// server's clock is unknown.
    pub fn latest(&self, end: Option<Instant>) -> Vec<u8> {
        let given_up = Instant::now() + self.timeout;
        let latest = end.map_or(given_up, |end| end.min(given_up));
        let micros = self.state.clock.at(latest);
        micros
            .map(|micros| micros.to_string().into_bytes())
            .unwrap_or_default()
    }

    /// Returns the state, which the clones share.
    pub fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    /// Returns the same connection, for commands about a slot that is moving to this node.
    #[must_use]
    pub fn asking(self) -> Self {
        Self {
            asking: true,
            ..self
        }
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// Returns the error that Redis or the connection gave. The connection takes note of it.
    pub async fn send(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let answers = self.send_all(vec![cmd.clone()]).await?;
        let answer = answers.into_iter().next();
        answer.unwrap_or(Value::Nil).extract_error()
    }

    /// Sends commands, all at once and with no other command between them. If one fails, its error is in the
    /// list of answers.
    ///
    /// # Errors
    /// Returns the error that the connection gave. The connection takes note of it, and of the first error
    /// that Redis gave.
    pub async fn send_all(&mut self, cmds: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let answers = timeout(self.timeout, self.clone().answers(cmds)).await;
        answers.unwrap_or_else(|_| Err(self.silence()))
    }

    /// Sends commands like [`Connection::send_all`]. What is `held` is held until Redis has answered or the
    /// connection has ended, even if the caller leaves earlier. It is given back with the answers, and not if
    /// they don't come in time.
    pub async fn send_holding<H: Send + 'static>(
        &self,
        cmds: Vec<Cmd>,
        held: H,
    ) -> (RedisResult<Vec<Value>>, Option<H>) {
        let connection = self.clone();
        let driver = self.state.driver.clone();
        let work = async move { (connection.answers(cmds).await, held) };
        let exchange = Finished::new(work, driver);
        match timeout(self.timeout, exchange).await {
            Ok((answers, held)) => (answers, Some(held)),
            Err(_) => (Err(self.silence()), None),
        }
    }

    /// Sends commands, and waits for the answers however long that takes.
    pub async fn answers(mut self, cmds: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let answers = match <[Cmd; 1]>::try_from(cmds) {
            Ok([cmd]) if !self.asking => {
                let answer = self.handle.send_packed_command(&cmd).await;
                answer.map(|answer| vec![answer])
            }
            Ok(cmd) => self.pipeline(cmd.into()).await,
            Err(cmds) => self.pipeline(cmds).await,
        };
        match &answers {
            Ok(answers) => {
                let error = answers.iter().find_map(|answer| match answer {
                    Value::ServerError(error) => Some(RedisError::from(error.clone())),
                    _ => None,
                });
                self.state.note(error.as_ref());
            }
            Err(error) => self.state.note(Some(error)),
        }
        answers
    }

    /// Returns the error for an answer that didn't come in time.
    fn silence(&self) -> RedisError {
        self.state.life.waited_in_vain();
        io::Error::from(io::ErrorKind::TimedOut).into()
    }

    async fn pipeline(&mut self, cmds: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let mut pipeline = Pipeline::new();
        for cmd in cmds {
            if self.asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(cmd);
        }
        let count = pipeline.len();
        let mut answers = self.handle.send_packed_commands(&pipeline, 0, count).await;
        if let (true, Ok(answers)) = (self.asking, &mut answers) {
            let mut is_answer = true;
            answers.retain(|_| {
                is_answer = !is_answer;
                is_answer
            });
        }
        answers
    }
}

impl ConnectionState {
    /// Returns what is known about the connection apart from its answers.
    pub fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Returns what is known of the server's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Takes note of the server's answer to TIME.
    pub fn tell_time(&self, answer: Value) {
        if let Ok((seconds, micros)) = <(u64, u64)>::from_redis_value(answer) {
            self.clock
                .set(seconds.saturating_mul(1_000_000).saturating_add(micros));
        }
    }

    /// Ends the connection now. Callers that wait for an answer get an error.
    pub fn end(&self) {
        self.life.end();
        self.driver.abort();
    }

    /// Makes the connection count as broken, so that it gets no new requests. Callers that wait for an answer
    /// may still get it.
    pub fn retire(&self) {
        self.life.end();
    }

    /// Takes note that the connection leads to a replica, and is meant to. It isn't replaced because the server
    /// refuses a write.
    pub fn set_replica(&self) {
        self.is_replica.store(true, Ordering::Relaxed);
    }

    fn note(&self, error: Option<&RedisError>) {
        let Some(error) = error else {
            return;
        };
        // A script that came too late says what the server's clock says.
        if let ("LATE", Some(now)) = (error.code().unwrap_or_default(), error.detail())
            && let Ok(now) = now.parse()
        {
            self.clock.set(now);
        }
        let is_over = match ErrorClass::of(error) {
            // The server was demoted.
            ErrorClass::Demoted => !self.is_replica.load(Ordering::Relaxed),
            // The server wants another password, or there is no connection any more.
            ErrorClass::Unauthenticated | ErrorClass::Ended => true,
            // A connection that is silent is found by its watch.
            _ => false,
        };
        if is_over {
            self.life.end();
        }
    }
}
