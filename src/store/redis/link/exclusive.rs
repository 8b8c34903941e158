//! Writes that wait until replicas have them (guarantees, section 4.2).
//!
//! WAIT counts the replicas that have all earlier writes of this connection, and all writes that other
//! clients made on the same server before those. On some servers it waits only for the connection's own last
//! write. Therefore scripts write something in any case (`fence` in `lib.lua`), and the answer that nothing
//! had to be done is as durable as a write. WAIT blocks the connection, so one request holds the connection
//! alone until it is answered.

use std::time::Duration;

use redis::{Cmd, Value};

use super::reply;
use crate::store::{Error, redis::Durability};

/// What writes wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replicas {
    count: u32,
    timeout: Duration,
}

impl Replicas {
    /// Returns what `durability` asks for. Returns `None` if writes don't wait.
    pub(super) fn of(durability: Durability) -> Option<Self> {
        match durability {
            Durability::Primary => None,
            Durability::Replicated {
                replicas, timeout, ..
            } => Some(Self {
                count: replicas,
                timeout,
            }),
        }
    }

    /// Returns the command that waits for the replicas.
    pub(super) fn wait(self) -> Cmd {
        let mut wait = redis::cmd("WAIT");
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        wait.arg(self.count).arg(millis.max(1));
        wait
    }

    /// Returns the answers without the one to WAIT. Fails if too few replicas have what was written.
    pub(super) fn check(self, mut answers: Vec<Value>) -> Result<Vec<Value>, Error> {
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
