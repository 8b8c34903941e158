//! A connection over which any number of callers can send at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::task::AbortHandle;

use super::error_class::ErrorClass;

/// How many timeouts in a row a connection may have before it is replaced. It may be half open.
const MAX_TIMEOUTS: u32 = 3;

/// A connection. Clones share it. It ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: MultiplexedConnection,
    state: Arc<ConnectionState>,
    asking: bool,
}

/// The state of a connection, and the handle that ends it.
#[derive(Debug)]
pub struct ConnectionState {
    broken: Arc<AtomicBool>,
    timeouts: AtomicU32,
    busy: AtomicBool,
    is_replica: AtomicBool,
    driver: AbortHandle,
}

impl Connection {
    /// Returns a connection that counts as broken once `broken` is set.
    pub fn new(
        handle: MultiplexedConnection,
        driver: AbortHandle,
        broken: Arc<AtomicBool>,
    ) -> Self {
        let state = Arc::new(ConnectionState {
            broken,
            timeouts: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            is_replica: AtomicBool::new(false),
            driver,
        });
        Self {
            handle,
            state,
            asking: false,
        }
    }

    /// Whether the connection has to be replaced: it ended, or its server can't be used.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state.broken.load(Ordering::Relaxed)
    }

    /// Says whether a caller that holds the connection alone is waiting for an answer. If the caller is
    /// dropped while it waits, the connection stays busy and can't be used again.
    pub fn set_busy(&self, busy: bool) {
        self.state.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether a caller that held the connection alone was dropped before it got its answer.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state.busy.load(Ordering::Relaxed)
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
        if self.asking {
            let answers = self.send_all(vec![cmd.clone()]).await?;
            return answers
                .into_iter()
                .next()
                .unwrap_or(Value::Nil)
                .extract_error();
        }
        let answer = self
            .handle
            .send_packed_command(cmd)
            .await
            .and_then(Value::extract_error);
        self.state.note(answer.as_ref().err());
        answer
    }

    /// Sends commands, all at once and with no other command between them. If one fails, its error is in the
    /// list of answers.
    ///
    /// # Errors
    /// Returns the error that the connection gave. The connection takes note of it, and of the first error
    /// that Redis gave.
    pub async fn send_all(&mut self, cmds: Vec<Cmd>) -> RedisResult<Vec<Value>> {
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
}

impl ConnectionState {
    /// Ends the connection now. Callers that wait for an answer get an error.
    pub fn end(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.driver.abort();
    }

    /// Makes the connection count as broken, so that it gets no new requests. Callers that wait for an answer
    /// may still get it.
    pub fn retire(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Takes note that the connection leads to a replica, and is meant to. It isn't replaced because the server
    /// refuses a write.
    pub fn set_replica(&self) {
        self.is_replica.store(true, Ordering::Relaxed);
    }

    fn note(&self, error: Option<&RedisError>) {
        let Some(error) = error else {
            if self.timeouts.load(Ordering::Relaxed) > 0 {
                self.timeouts.store(0, Ordering::Relaxed);
            }
            return;
        };
        let broken = match ErrorClass::of(error) {
            ErrorClass::Silent => self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS,
            // The server was demoted.
            ErrorClass::Demoted => !self.is_replica.load(Ordering::Relaxed),
            // The server wants another password, or there is no connection any more.
            ErrorClass::Unauthenticated | ErrorClass::Ended => true,
            _ => false,
        };
        if broken {
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}
