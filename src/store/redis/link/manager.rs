//! How bb8 makes connections, and when it replaces them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bb8_redis::bb8::ManageConnection;
use tokio::time::Instant;

use crate::store::redis::{
    link::topology::Topology,
    link::wire::{ConnectError, Connection},
};

/// How long to wait where a setting is wrong: a file may be on its way.
const SETTING: Duration = Duration::from_millis(250);

/// Makes connections to the primary, wherever it is.
#[derive(Debug)]
pub struct Manager {
    topology: Arc<Topology>,
    timeout: Duration,
    /// How long attempts go on: longer than anybody waits, so that the pool's own pauses, which grow, stay out of
    /// the way. A new primary is to be connected to as soon as it is known.
    patience: Duration,
    last: LastFailure,
}

/// Why the last attempt to connect failed, for those who wait for a connection in vain.
#[derive(Clone, Debug, Default)]
pub struct LastFailure(Arc<Mutex<Option<ConnectError>>>);

impl Manager {
    /// Makes connections whose answers take `timeout` at most, for callers who wait for `wait`.
    pub fn new(
        topology: Arc<Topology>,
        timeout: Duration,
        wait: Duration,
        last: LastFailure,
    ) -> Self {
        Self {
            topology,
            timeout,
            patience: wait + Duration::from_secs(1),
            last,
        }
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let end = Instant::now() + self.patience;
        loop {
            let error = match self.topology.connect(self.timeout).await {
                Ok((connection, _)) => {
                    self.last.set(None);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            let pause = match error.setting {
                Some(_) => SETTING,
                None => Duration::from_millis(rand::random_range(20..60)),
            };
            self.last.set(Some(error.clone()));
            if Instant::now() > end {
                return Err(error);
            }
            self.topology.pause(pause).await;
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

    /// Whether the last attempt succeeded, or there was none.
    pub fn is_none(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Its text.
    pub fn text(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some(error) => error.to_string(),
            None => "no answer in time".to_owned(),
        }
    }
}
