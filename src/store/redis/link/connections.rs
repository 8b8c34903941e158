//! The connections to one primary: a few that all callers share, and others that one caller holds alone.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bb8_redis::bb8::{ManageConnection, NopErrorSink, Pool, PooledConnection, RunError};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    topology::{Primary, Servers},
    wire::{ConnectError, Connection},
};

/// How long to wait where a setting is wrong: a file may be on its way.
const SETTING: Duration = Duration::from_millis(250);

/// Pools of connections to one primary.
#[derive(Debug)]
pub struct Connections {
    /// Those that all callers share.
    pub shared: Pool<Manager>,
    /// Those that one caller holds alone, for a write that waits for replicas.
    pub exclusive: Option<Pool<Manager>>,
    /// Why the last attempt to connect failed.
    pub last_failure: LastFailure,
}

/// How many connections a primary gets, and how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Connections that all callers share.
    pub shared: u32,
    /// Connections for writes that wait for replicas; 0 where none do.
    pub exclusive: u32,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an answer to a write that waits for replicas may take.
    pub exclusive_timeout: Duration,
    /// How long a caller waits for a connection.
    pub patience: Duration,
}

/// Makes the connections to a primary, as long as it is one.
#[derive(Debug)]
pub struct Manager {
    servers: Servers,
    /// Weak, because the primary owns the pool that owns this.
    primary: Weak<Primary>,
    timeout: Duration,
    /// How long attempts go on: longer than any caller waits, so that the pool's own pauses, which grow, stay
    /// out of the way. A server that is back is to be connected to at once.
    patience: Duration,
    last_failure: LastFailure,
}

/// Why the last attempt to connect failed, for those who wait for a connection in vain.
#[derive(Clone, Debug, Default)]
pub struct LastFailure(Arc<Mutex<Option<ConnectError>>>);

impl Connections {
    /// Pools that connect to `primary` in the background. To be made inside of a runtime.
    pub fn new(servers: &Servers, primary: &Arc<Primary>, sizes: Sizes) -> Self {
        let last_failure = LastFailure::default();
        let manager = |timeout| Manager {
            servers: servers.clone(),
            primary: Arc::downgrade(primary),
            timeout,
            patience: sizes.patience + Duration::from_secs(1),
            last_failure: last_failure.clone(),
        };
        let exclusive = (sizes.exclusive > 0).then(|| {
            let manager = manager(sizes.exclusive_timeout);
            pool(manager, sizes.exclusive, 0, sizes.patience)
        });
        Self {
            shared: pool(
                manager(sizes.timeout),
                sizes.shared,
                sizes.shared,
                sizes.patience,
            ),
            exclusive,
            last_failure,
        }
    }
}

/// Takes a connection out of `pool`. Waits for one until `end`.
///
/// # Errors
/// Why there is none, where that is known.
pub async fn checked_out<'p>(
    pool: &'p Pool<Manager>,
    last_failure: &LastFailure,
    end: Instant,
) -> Result<PooledConnection<'p, Manager>, Option<ConnectError>> {
    loop {
        match timeout_at(end, pool.get()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(RunError::User(error))) => return Err(Some(error)),
            // The pool's own patience is that of a call.
            Ok(Err(RunError::TimedOut)) if Instant::now() < end => {}
            Ok(Err(RunError::TimedOut)) | Err(_) => return Err(last_failure.get()),
        }
    }
}

/// A pool that gives up on nothing by itself.
fn pool(manager: Manager, size: u32, idle: u32, wait: Duration) -> Pool<Manager> {
    Pool::builder()
        .max_size(size)
        .min_idle(idle)
        .connection_timeout(wait)
        .test_on_check_out(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .error_sink(Box::new(NopErrorSink))
        .build_unchecked(manager)
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let end = Instant::now() + self.patience;
        loop {
            let Some(primary) = self.primary.upgrade() else {
                return Err(ConnectError::passing("another server became the primary"));
            };
            let error = match self.servers.connect(&primary, self.timeout).await {
                Ok((connection, _)) => {
                    self.last_failure.set(None);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            self.last_failure.set(Some(error.clone()));
            if Instant::now() > end || primary.is_over() {
                return Err(error);
            }
            let pause = match error.at_fault {
                Some(_) => SETTING,
                None => Duration::from_millis(rand::random_range(20..60)),
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = primary.over() => return Err(error),
            }
        }
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let answer = connection.send(&redis::cmd("PING")).await;
        answer
            .map(drop)
            .map_err(|_| ConnectError::passing("no answer to PING"))
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_broken() || connection.is_busy()
    }
}

impl LastFailure {
    fn set(&self, error: Option<ConnectError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Why the last attempt failed; `None` if it succeeded, or there was none.
    pub fn get(&self) -> Option<ConnectError> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}
