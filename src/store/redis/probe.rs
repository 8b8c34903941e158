//! A check before the broker serves anything: do the settings fit the servers?

use redis::Value;

use super::{AtFault, ConnectError, Durability, RedisStore, link::topology::Facts};

impl RedisStore {
    /// Connects once, and checks that the settings fit the server.
    ///
    /// # Errors
    /// Returns a [`ConnectError`]. If it names a setting, trying again doesn't help.
    pub async fn probe(&self) -> Result<(), ConnectError> {
        let (mut connection, facts, address) = self.link.connect().await?;
        self.warn_of_replicas(&facts);

        // Every call needs these permissions.
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
            // The text may name a key. These keys contain no session id, so it may be shown.
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

    /// Explains why there is no connection. The text begins with the name of the setting that is wrong, if one
    /// is.
    #[must_use]
    pub fn explain(&self, error: &ConnectError) -> String {
        error.explain(&self.redis.options().spelling)
    }

    /// Warns if writes will wait for replicas in vain, or if the primary accepts writes without any replica.
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
                "durability: before Redis 7, scripts ignore min-replicas-to-write, and each write is a script"
            );
        }
        if !facts.demands_replicas {
            tracing::warn!(
                "durability: min-replicas-to-write isn't set in Redis: a primary that is cut off still accepts \
                 writes, which are answered with NOT_DURABLE and which readers see"
            );
        }
    }
}
