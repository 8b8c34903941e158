//! The connections to Redis: a few, each shared by all callers.

use std::sync::{Arc, Mutex, PoisonError};

use bb8_redis::bb8::{self, ErrorSink, RunError};
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::{
    connection::{Connection, Manager},
    scripts::{Call, Script},
};
use crate::error::{Error, Unreadable};

/// Owns the life of the connections. A caller gets a handle and gives the pool's guard back before
/// it sends anything: nobody waits for somebody else's answer.
#[derive(Debug, Clone)]
pub struct Pool {
    connections: bb8::Pool<Manager>,
    size: u32,
    sink: Sink,
}

impl Pool {
    /// A pool that connects when it is first used, and again, with growing pauses, when a
    /// connection ended.
    #[must_use]
    pub fn new(manager: Manager, size: u32, wait: std::time::Duration) -> Self {
        let sink = Sink::default();
        let connections = bb8::Pool::builder()
            .max_size(size)
            .min_idle(size)
            .connection_timeout(wait)
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .error_sink(sink.boxed_clone())
            .build_unchecked(manager);
        Self {
            connections,
            size,
            sink,
        }
    }

    async fn connection(&self) -> Result<Connection, Error> {
        loop {
            let guard = self.connections.get().await.map_err(|error| match error {
                RunError::User(error) => failure("connect", &error),
                RunError::TimedOut => self.sink.no_connection(),
            })?;
            // The pool asks `has_broken` only when it gets a guard back: a connection that broke
            // while it lay idle is found here, and replaced when the guard is dropped.
            if !guard.is_broken() {
                return Ok(guard.clone());
            }
        }
    }

    /// Sends a command that changes something: once, since it may have been done though no answer
    /// came.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn write(&self, cmd: &Cmd) -> Result<Value, Error> {
        let mut connection = self.connection().await?;
        connection
            .send(cmd)
            .await
            .map_err(|error| failure("write", &error))
    }

    /// Sends a command that changes nothing; again on another connection, where one ended.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn read(&self, cmd: &Cmd) -> Result<Value, Error> {
        // Every connection there is may have ended, each to be found out by a command.
        let mut left = self.size + 1;
        loop {
            let mut connection = self.connection().await?;
            match connection.send(cmd).await {
                Ok(value) => return Ok(value),
                Err(error) if error.is_connection_dropped() && left > 0 => left -= 1,
                Err(error) => return Err(failure("read", &error)),
            }
        }
    }

    /// Calls a script: by its hash, or whole where Redis doesn't know the hash.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn call(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<Value, Error> {
        let mut connection = self.connection().await?;
        let answer = match connection.send(&script.by_hash(keys, args)).await {
            // Nothing was done: Redis was restarted, or is another one now.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                connection.send(&script.by_source(keys, args)).await
            }
            answer => answer,
        };
        answer.map_err(|error| failure("script", &error))
    }

    /// Sends commands that change nothing, all at once, and gives the answers in their order.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] if any of them fails.
    pub async fn read_each(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        if cmds.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection().await?;
        let answers = connection.send_all(cmds).await;
        answers
            .and_then(without_errors)
            .map_err(|error| failure("read", &error))
    }

    /// Calls scripts, all at once, and gives the answers in their order. Some calls may be done
    /// and others not when this fails.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] if any of them fails.
    pub async fn call_each(&self, calls: &[Call<'_>]) -> Result<Vec<Value>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection().await?;
        let mut answers = connection
            .send_all(calls.iter().map(Call::by_hash))
            .await
            .map_err(|error| failure("script", &error))?;
        // Redis knows no hash after a restart or on a new primary. Nothing was done then.
        let unknown: Vec<usize> = (0..answers.len())
            .filter(|&i| is_unknown_script(&answers[i]))
            .collect();
        if !unknown.is_empty() {
            let again = unknown.iter().map(|&i| calls[i].by_source());
            let again = connection.send_all(again).await;
            let again = again.map_err(|error| failure("script", &error))?;
            for (i, answer) in unknown.into_iter().zip(again) {
                answers[i] = answer;
            }
        }
        without_errors(answers).map_err(|error| failure("script", &error))
    }
}

/// The answers, if none of them is an error.
fn without_errors(answers: Vec<Value>) -> Result<Vec<Value>, RedisError> {
    answers.into_iter().map(Value::extract_error).collect()
}

fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// What a failed command means. The operator reads the detail in the log; Redis' own text isn't in
/// it, since it may quote keys and arguments.
fn failure(what: &str, error: &RedisError) -> Error {
    let detail = match error.code() {
        Some("WRONGTYPE") => {
            return Error::RowUnreadable(Unreadable(
                "a key holds another type of value".to_owned(),
            ));
        }
        Some(code) => format!("{what}: Redis answered {code}"),
        None if error.is_connection_refusal() => format!("{what}: connection refused"),
        None if error.is_timeout() => format!("{what}: no answer from Redis in time"),
        None => format!("{what}: {}", error.category()),
    };
    Error::store_unavailable(detail)
}

/// Hears of failed connects, which are nobody's call, and keeps the last one's reason for those who
/// wait for a connection in vain.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Option<String>>>);

impl Sink {
    fn no_connection(&self) -> Error {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = last.as_deref().unwrap_or("no answer in time");
        Error::store_unavailable(format!("no connection to Redis: {reason}"))
    }
}

impl ErrorSink<RedisError> for Sink {
    fn sink(&self, error: RedisError) {
        let failure = failure("connect", &error);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = failure.operator_detail().map(str::to_owned);
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}
