//! A look at the servers before anything is served: do the settings fit them?

use redis::Value;

use super::{AtFault, ConnectError, Durability, RedisStore, link::topology::Facts};

impl RedisStore {
    /// Connects once, and looks whether the settings fit what is found. An error that blames a setting
    /// doesn't pass by itself.
    ///
    /// # Errors
    /// A [`ConnectError`].
    pub async fn probe(&self) -> Result<(), ConnectError> {
        let (mut connection, facts, address) = self.link.connect().await?;
        self.warn_of_replicas(&facts);

        // What each call needs; a user that may not do this may do nothing.
        let script = &self.redis.scripts().index_page;
        let key = self.keys.grace();
        let mut exists = redis::cmd("EXISTS");
        exists.arg(&key);
        let mut cmds = vec![
            exists,
            script.by_source(&[&self.keys.probe()], &[b"", b"0", b"1"]),
        ];
        if facts.role == "master" && self.redis.is_replicated() {
            let mut wait = redis::cmd("WAIT");
            cmds.push(wait.arg(0).arg(1).take());
        }
        let gone = |_| ConnectError::passing(format!("{address}: the connection ended"));
        let answers = connection.send_all(cmds).await.map_err(gone)?;
        let refusal = answers.iter().find_map(|answer| match answer {
            Value::ServerError(error) if error.code() == "NOPERM" => Some(error),
            _ => None,
        });
        match refusal {
            // The tenant's keys may be named: they hold nothing of a session yet.
            Some(error) => Err(ConnectError::of(
                AtFault::Url,
                format!(
                    "{address}: the user lacks permissions: {}",
                    error.details().unwrap_or_default()
                ),
            )),
            None => Ok(()),
        }
    }

    /// Replicas that writes will wait for in vain, and a primary that takes writes without any.
    fn warn_of_replicas(&self, facts: &Facts) {
        let Durability::Replicated { replicas, .. } = self.redis.options().durability else {
            return;
        };
        if facts.replicas < replicas {
            tracing::warn!(
                replicas = facts.replicas,
                wanted = replicas,
                "durability: the primary has too few replicas, writes will be NOT_DURABLE"
            );
        }
        if facts.demands_replicas && facts.version < 7 {
            tracing::warn!(
                "durability: before Redis 7, min-replicas-to-write doesn't bind scripts, and each write is one"
            );
        }
        if !facts.demands_replicas {
            tracing::warn!(
                "durability: min-replicas-to-write isn't set in Redis: a primary that is cut off goes on \
                 taking writes, which nobody acknowledges and readers see"
            );
        }
    }
}
