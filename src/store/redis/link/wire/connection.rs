//! A connection that any number of callers send over at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::task::AbortHandle;

use super::error_class::ErrorClass;

/// Timeouts in a row after which a connection is given up: it may be half open.
const MAX_TIMEOUTS: u32 = 3;

/// A connection. Clones share it; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: MultiplexedConnection,
    state: Arc<ConnectionState>,
    asking: bool,
}

/// What is known of a connection, and the way to end it.
#[derive(Debug)]
pub struct ConnectionState {
    broken: Arc<AtomicBool>,
    timeouts: AtomicU32,
    busy: AtomicBool,
    driver: AbortHandle,
}

impl Connection {
    /// A connection that ends when `broken` is set, as far as new commands are concerned.
    pub fn new(
        handle: MultiplexedConnection,
        driver: AbortHandle,
        broken: Arc<AtomicBool>,
    ) -> Self {
        let state = Arc::new(ConnectionState {
            broken,
            timeouts: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            driver,
        });
        Self {
            handle,
            state,
            asking: false,
        }
    }

    /// Whether it has to be replaced: it ended, or its server is of no use.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state.broken.load(Ordering::Relaxed)
    }

    /// Says that whoever has the connection to himself is not done yet, or that he is. If he goes away
    /// before, it is of no use to the next.
    pub fn set_busy(&self, busy: bool) {
        self.state.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether somebody went away before he was done.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state.busy.load(Ordering::Relaxed)
    }

    /// What outlives the handles.
    pub fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    /// The same connection, for commands about a slot that is on its way to this node.
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
    /// What Redis or the connection says. The connection takes note of it.
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

    /// Sends commands, all at once and none of others between them; an answer that is an error stands
    /// in its place.
    ///
    /// # Errors
    /// What the connection says. It takes note of that, and of what Redis says.
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
    /// Ends the connection now. Who waits for an answer is told that it ended.
    pub fn end(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.driver.abort();
    }

    /// Takes no new commands. Who waits for an answer may get it.
    pub fn retire(&self) {
        self.broken.store(true, Ordering::Relaxed);
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
            // A primary that was demoted, and one that wants another password.
            ErrorClass::Demoted | ErrorClass::Unauthenticated | ErrorClass::Ended => true,
            _ => false,
        };
        if broken {
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}
