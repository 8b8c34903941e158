//! A check before the broker serves anything: do the settings fit the servers?

use redis::{Cmd, FromRedisValue, RedisError, ServerError, Value};

use super::{
    Address, AtFault, ConnectError, Durability, RedisStore, eviction,
    link::{
        topology::Facts,
        wire::{ErrorClass, code, is_impossible},
    },
};

/// The commands of a transaction. Without them, the broker reads sessions by a script.
const TRANSACTION: [&str; 2] = ["MULTI", "EXEC"];

impl RedisStore {
    /// Connects once, and checks that the settings fit the server and that the server lets the broker do what it has
    /// to.
    ///
    /// # Errors
    /// Returns a [`ConnectError`]. If it names a setting, trying again doesn't help.
    pub async fn probe(&self) -> Result<(), ConnectError> {
        let (mut connection, facts, address) = self.link.connect().await?;
        self.warn_of_replicas(&facts);

        let gone = |_| ConnectError::passing(format!("{address}: the connection ended"));
        let cmds = self.needed(&facts);
        let names = cmds.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let cmds = cmds.into_iter().map(|(_, cmd)| cmd).collect();
        let answers = connection.send_all(cmds).await.map_err(gone)?;
        let (mut has_transactions, mut announces) = (true, true);
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Value::ServerError(_) if TRANSACTION.contains(&name) => has_transactions = false,
                Value::ServerError(error) => judge(&address, name, error)?,
                answer if name == "EVAL" => announces &= judge_script(&address, answer)?,
                _ => {}
            }
        }
        if !has_transactions {
            tracing::warn!(
                "Redis refuses MULTI or EXEC: without them, the read of a session costs Redis several times as much"
            );
        }
        if !announces {
            tracing::warn!(
                "Redis refuses PUBLISH: callers learn late that another broker has refreshed a token"
            );
        }
        self.warn_of_eviction().await;
        Ok(())
    }

    /// Returns the commands that every call needs, each with its name. The first one tries those that scripts need.
    fn needed(&self, facts: &Facts) -> Vec<(&'static str, Cmd)> {
        let (scripts, key, ends) = (self.redis.scripts(), self.keys.probe(), self.keys.ends());
        let (keys, args) = ([key.as_str()], [ends.as_bytes()]);
        let mut scan = redis::cmd("SCAN");
        scan.arg(0).arg("MATCH").arg(&key).arg("COUNT").arg(1);
        let mut needed = vec![
            ("EVAL", scripts.probe.by_source(b"", &keys, &args)),
            ("EVALSHA", scripts.probe.by_hash(b"", &keys, &args)),
            ("SCAN", scan),
        ];
        needed.extend(TRANSACTION.map(|name| (name, redis::cmd(name))));
        if facts.role == "master" && self.redis.is_replicated() {
            let mut wait = redis::cmd("WAIT");
            needed.push(("WAIT", wait.arg(0).arg(1).take()));
        }
        needed
    }

    /// Warns if Redis may evict rows.
    async fn warn_of_eviction(&self) {
        if let Ok(Some(policy)) = eviction::policy(&self.link).await {
            tracing::warn!(
                policy,
                "maxmemory-policy must be noeviction: when its memory is full, this Redis removes rows that users \
                 still need, and indexes without which a session's tokens aren't found and DeleteUser leaves some"
            );
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

/// Returns an error if `name` can't be run at all. The text of Redis' answer may go on with the arguments.
fn judge(address: &Address, name: &str, error: ServerError) -> Result<(), ConnectError> {
    let error = RedisError::from(error);
    match code(&error) {
        Some(code @ ("ERR" | "NOPERM")) => {
            let text = error.detail().unwrap_or_default();
            Err(refused(address, name, &format!("{code} {text}")))
        }
        _ => match ErrorClass::of(&error) {
            ErrorClass::Passing | ErrorClass::Moved(_) | ErrorClass::Ask(_) => {
                let code = error.code().unwrap_or_default();
                Err(ConnectError::passing(format!(
                    "{address} answered {code} to {name}"
                )))
            }
            _ => Ok(()),
        },
    }
}

/// Returns an error if one of the commands that scripts need can't be run at all. Returns whether they can announce
/// something: that helps, and isn't needed.
fn judge_script(address: &Address, answer: Value) -> Result<bool, ConnectError> {
    let failed = Vec::<(String, String)>::from_redis_value(answer).unwrap_or_default();
    let mut announces = true;
    for (name, error) in failed.iter().filter(|(_, error)| is_impossible(error)) {
        if name != "PUBLISH" {
            return Err(refused(address, name, error));
        }
        announces = false;
    }
    Ok(announces)
}

fn refused(address: &Address, name: &str, error: &str) -> ConnectError {
    // Redis continues with the arguments of a command that it doesn't know.
    let error = error.split(", with args").next().unwrap_or_default();
    match error.contains("NOPERM") || error.contains("permission") {
        true => {
            let found = format!("{address}: the user lacks permissions for {name}: {error}");
            ConnectError::of(AtFault::Username, found)
        }
        false => {
            let found = format!("{address} refuses {name}, which the broker needs: {error}");
            ConnectError::of(AtFault::Url, found)
        }
    }
}
