//! Writes that wait until replicas have them (guarantees, section 4.2).
//!
//! WAIT counts what was written before it over the same connection, and by others on the same server
//! before that. On some servers it waits for the connection's own last write only: so scripts write
//! something in any case (`fence` in `lib.lua`), and an answer that nothing had to be done is as durable as a
//! write. WAIT blocks the connection, which therefore is one request's own for the time.

use std::{sync::Arc, time::Duration};

use bb8_redis::bb8;
use redis::{Cmd, Value};

use super::{LastFailure, Manager, connections, not_durable, reply, topology::Topology};
use crate::{
    error::Error,
    store::redis::{Durability, RedisOptions},
};

/// Connections for writes that wait, and what they wait for.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    pub(super) connections: bb8::Pool<Manager>,
    replicas: u32,
    timeout: Duration,
}

impl Durable {
    /// `None` where writes don't wait.
    pub(super) fn new(
        topology: &Arc<Topology>,
        options: &RedisOptions,
        last: &LastFailure,
        patience: Duration,
    ) -> Option<Self> {
        let Durability::Replicated {
            replicas,
            timeout,
            connections: size,
        } = options.durability
        else {
            return None;
        };
        let answer = options.timeout + timeout;
        let manager = Manager::new(Arc::clone(topology), answer, patience, last.clone());
        Some(Self {
            connections: connections(manager, size, 0, patience),
            replicas,
            timeout,
        })
    }

    /// The command that waits.
    pub(super) fn wait(&self) -> Cmd {
        let mut wait = redis::cmd("WAIT");
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        wait.arg(self.replicas).arg(millis.max(1));
        wait
    }

    /// The answers without that to WAIT, if enough replicas have what was written.
    pub(super) fn check(&self, mut answers: Vec<Value>) -> Result<Vec<Value>, Error> {
        let replicas: u32 = match answers.pop() {
            Some(Value::ServerError(error)) => {
                let code = error.code();
                return Err(not_durable(format!("Redis answered {code} to WAIT")));
            }
            answer => reply::parse(answer.unwrap_or(Value::Nil))?,
        };
        if replicas < self.replicas {
            let wanted = self.replicas;
            return Err(not_durable(format!(
                "{replicas} of {wanted} replicas have it"
            )));
        }
        Ok(answers)
    }
}
