//! The connections to one primary. All callers share a few of them. Others are held by one caller at a time.

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

/// How long to wait before the next attempt if a setting is wrong: the operator may be replacing a file.
const SETTING: Duration = Duration::from_millis(250);

/// The pools of connections to one primary.
#[derive(Debug)]
pub struct Connections {
    /// The connections that all callers share.
    pub shared: Pool<Manager>,
    /// The connections that one caller holds alone, for a write that waits for replicas.
    pub exclusive: Option<Pool<Manager>>,
    /// Why the last attempt to connect failed.
    pub last_failure: LastFailure,
}

/// How many connections a primary gets, and how long callers wait for them.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// How many connections all callers share.
    pub shared: u32,
    /// How many connections there are for writes that wait for replicas. 0 if no write waits.
    pub exclusive: u32,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an answer to a write that waits for replicas may take.
    pub exclusive_timeout: Duration,
    /// How long a caller waits for a connection.
    pub patience: Duration,
}

/// Makes the connections to a server as long as it is the primary.
#[derive(Debug)]
pub struct Manager {
    servers: Servers,
    /// Weak, because the primary owns the pool that owns this.
    primary: Weak<Primary>,
    timeout: Duration,
    /// How long one call of `connect` keeps trying: longer than any caller waits. If it gave up earlier, the pool
    /// would back off, and be late to notice that the server is back.
    patience: Duration,
    last_failure: LastFailure,
}

/// Why the last attempt to connect failed, for callers that wait for a connection in vain.
#[derive(Clone, Debug, Default)]
pub struct LastFailure(Arc<Mutex<Option<ConnectError>>>);

impl Connections {
    /// Returns pools that connect to `primary` in the background.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
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
/// Returns the reason why there is none, if it is known.
pub async fn checked_out<'p>(
    pool: &'p Pool<Manager>,
    last_failure: &LastFailure,
    end: Instant,
) -> Result<PooledConnection<'p, Manager>, Option<ConnectError>> {
    loop {
        match timeout_at(end, pool.get()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(RunError::User(error))) => return Err(Some(error)),
            // The pool itself waits as long as a call may take.
            Ok(Err(RunError::TimedOut)) if Instant::now() < end => {}
            Ok(Err(RunError::TimedOut)) | Err(_) => return Err(last_failure.get()),
        }
    }
}

/// Returns a pool that doesn't test connections before use and doesn't close idle or old ones.
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

    /// Returns why the last attempt failed. Returns `None` if it succeeded, or there was none.
    pub fn get(&self) -> Option<ConnectError> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}
