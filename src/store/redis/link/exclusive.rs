//! Writes that wait until replicas have them (guarantees, section 4.2).
//!
//! WAIT counts the replicas that have all earlier writes of this connection, and all writes that other
//! clients made on the same server before those. On some servers it waits only for the connection's own last
//! write. Therefore scripts write something in any case (`lib/fence.lua`), and the answer that nothing
//! had to be done is as durable as a write. WAIT blocks the connection, so one request holds the connection
//! alone until Redis has answered it, also if its caller leaves.
//!
//! While no replica confirms, such writes pile up. How many there may be is limited apart from all other calls, so
//! that reads always find a place.

use std::{sync::Arc, time::Duration};

use bb8_redis::bb8::{ManageConnection, NopErrorSink, Pool, PooledConnection, RunError};
use redis::{Cmd, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    connections::Dial,
    lane::Lane,
    reply,
    watch::{Finding, Watched},
    wire::ConnectError,
};
use crate::store::{Error, redis::Durability};

/// What writes wait for, and how many may wait.
#[derive(Clone, Debug)]
pub(super) struct Replicas {
    count: u32,
    timeout: Duration,
    turns: Arc<Semaphore>,
    /// How many writes may wait.
    most: usize,
}

/// A write's place among those that wait for replicas.
pub(super) type Turn = OwnedSemaphorePermit;

impl Replicas {
    /// Returns what `durability` asks for. Returns `None` if writes don't wait.
    pub(super) fn of(durability: Durability) -> Option<Self> {
        match durability {
            Durability::Primary => None,
            Durability::Replicated {
                replicas,
                timeout,
                waiting,
                ..
            } => Some(Self {
                count: replicas,
                timeout,
                turns: Arc::new(Semaphore::new(waiting)),
                most: waiting,
            }),
        }
    }

    /// Takes a place among the writes that wait.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] at once if too many wait.
    pub(super) fn turn(&self) -> Result<Turn, Error> {
        let turn = Arc::clone(&self.turns).try_acquire_owned();
        turn.map_err(|_| Error::unavailable("too many writes wait for replicas"))
    }

    /// Returns how many writes wait.
    pub(super) fn waiting(&self) -> usize {
        self.most.saturating_sub(self.turns.available_permits())
    }

    /// Returns the command that waits for the replicas.
    pub(super) fn wait(&self) -> Cmd {
        let mut wait = redis::cmd("WAIT");
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        wait.arg(self.count).arg(millis.max(1));
        wait
    }

    /// Returns the answers without the one to WAIT. Fails if too few replicas have what was written.
    pub(super) fn check(&self, mut answers: Vec<Value>) -> Result<Vec<Value>, Error> {
        let have: u32 = match answers.pop() {
            Some(Value::ServerError(error)) => {
                let code = error.code();
                return Err(Error::NotDurable(format!("Redis answered {code} to WAIT")));
            }
            answer => reply::parse(answer.unwrap_or(Value::Nil))?,
        };
        if have < self.count {
            let wanted = self.count;
            return Err(Error::NotDurable(format!(
                "{have} of {wanted} replicas have it"
            )));
        }
        Ok(answers)
    }
}

/// Makes connections that one caller holds alone.
#[derive(Debug)]
pub struct Manager {
    dial: Dial,
    /// A server is only dialled while the shared connections to it work, which try again and again. So the number of
    /// writes that wait doesn't multiply the attempts.
    shared: Arc<Lane>,
    patience: Duration,
}

/// Returns a pool that doesn't test connections before use and doesn't close idle or old ones.
pub fn pool(dial: Dial, shared: Arc<Lane>, size: u32, patience: Duration) -> Pool<Manager> {
    Pool::builder()
        .max_size(size)
        .min_idle(0)
        .connection_timeout(patience)
        .test_on_check_out(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .error_sink(Box::new(NopErrorSink))
        .build_unchecked(Manager {
            dial,
            shared,
            patience,
        })
}

/// Takes a connection out of `pool`. Waits for one until `end`.
///
/// # Errors
/// Returns the reason why there is none, if it is known.
pub async fn checked_out(
    pool: &Pool<Manager>,
    end: Instant,
) -> Result<PooledConnection<'static, Manager>, Option<ConnectError>> {
    loop {
        match timeout_at(end, pool.get_owned()).await {
            Ok(Ok(watched)) => return Ok(watched),
            Ok(Err(RunError::User(error))) => return Err(Some(error)),
            // The pool itself waits as long as a call may take.
            Ok(Err(RunError::TimedOut)) if Instant::now() < end => {}
            Ok(Err(RunError::TimedOut)) | Err(_) => return Err(None),
        }
    }
}

impl ManageConnection for Manager {
    type Connection = Watched;
    type Error = ConnectError;

    /// Keeps trying for longer than any caller waits. If it gave up earlier, the pool would back off, and be late to
    /// notice that the server is back.
    async fn connect(&self) -> Result<Watched, ConnectError> {
        let end = Instant::now() + self.patience + Duration::from_secs(1);
        let (mut dial, mut failures) = (self.dial.clone(), 0);
        let mut turn = None;
        loop {
            let up = async {
                tokio::select! {
                    () = self.shared.until_up() => {}
                    () = dial.over() => {}
                }
            };
            let is_up = timeout_at(end, up).await.is_ok();
            if !is_up {
                let error = dial.last_failure();
                return Err(error.unwrap_or_else(|| ConnectError::passing("no connection in time")));
            }
            // If another server is the primary now, there is nothing to wait for here.
            let connected = dial.connect().await;
            drop(turn.take());
            let Some(connected) = connected else {
                return Err(ConnectError::passing("another server became the primary"));
            };
            let error = match connected {
                Ok(connection) => {
                    let watched = connection.clone();
                    let watch = async move {
                        // One caller holds it, who needs another one.
                        if dial.watched(&watched).await == Finding::Silent {
                            watched.state().end();
                        }
                    };
                    return Ok(Watched::new(connection, watch));
                }
                Err(error) => error,
            };
            if Instant::now() > end {
                return Err(error);
            }
            turn = dial.pause(failures, Some(&error)).await;
            failures += 1;
        }
    }

    async fn is_valid(&self, watched: &mut Watched) -> Result<(), ConnectError> {
        match watched.connection.is_broken() {
            true => Err(ConnectError::passing("the connection ended")),
            false => Ok(()),
        }
    }

    fn has_broken(&self, watched: &mut Watched) -> bool {
        watched.connection.is_broken()
    }
}
