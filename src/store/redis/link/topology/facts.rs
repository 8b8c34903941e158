//! What a server says about itself.

use redis::{FromRedisValue, Value};

use crate::store::redis::{
    Address,
    link::{
        reply,
        wire::{AtFault, ConnectError, Connection},
    },
};

/// What a server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `master`, `slave` or `sentinel`.
    pub role: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// The id of the process. It differs after each start.
    pub run_id: String,
    /// The id of the history of the data. A replica has the id of its primary. A server has a new one each time that
    /// it becomes a primary.
    pub replication_id: String,
    /// How many replicas are connected.
    pub replicas: u32,
    /// The major version of Redis that the server is compatible with.
    pub version: u32,
    /// Whether `min-replicas-to-write` is set.
    pub demands_replicas: bool,
}

impl Facts {
    /// Asks the server at `address`.
    ///
    /// # Errors
    /// Returns a [`ConnectError`]. If the user may not ask, it names the user name.
    pub async fn ask(connection: &mut Connection, address: &Address) -> Result<Self, ConnectError> {
        let info = |section: &str| {
            let mut info = redis::cmd("INFO");
            info.arg(section);
            info
        };
        let cmds = vec![
            redis::cmd("ROLE"),
            info("server"),
            info("replication"),
            redis::cmd("TIME"),
        ];
        let gone = |_| ConnectError::passing(format!("{address}: the connection ended"));
        let answers = connection.send_all(cmds).await.map_err(gone)?;
        let mut answers = answers.into_iter();
        let mut next = || match answers.next() {
            Some(Value::ServerError(error)) => Err(refusal(address, &error)),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        };
        let role = match next()? {
            Value::Array(items) => items.into_iter().next().unwrap_or(Value::Nil),
            _ => Value::Nil,
        };
        let (server, replication) = (reply::info(next()?), reply::info(next()?));
        connection
            .state()
            .tell_time(answers.next().unwrap_or(Value::Nil));
        let field = |name: &str| server.get(name).cloned();
        Ok(Self {
            role: String::from_redis_value(role).unwrap_or_default(),
            // Valkey 9 uses the second name.
            mode: field("redis_mode")
                .or_else(|| field("server_mode"))
                .unwrap_or_default(),
            run_id: field("run_id").unwrap_or_default(),
            replication_id: replication
                .get("master_replid")
                .cloned()
                .unwrap_or_default(),
            version: field("redis_version")
                .and_then(|version| version.split('.').next()?.parse().ok())
                .unwrap_or(0),
            replicas: replication
                .get("connected_slaves")
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
            // Redis reports the number of good replicas only if it demands some.
            demands_replicas: replication.contains_key("min_slaves_good_slaves"),
        })
    }
}

/// Returns the error for a server that refuses to answer. The text quotes no key, because the question
/// contains none.
pub fn refusal(address: &Address, error: &redis::ServerError) -> ConnectError {
    let found = format!(
        "{address} answered {} {}",
        error.code(),
        error.details().unwrap_or_default()
    );
    match error.code() {
        "NOPERM" => ConnectError::of(AtFault::Username, found),
        "ERR" => ConnectError::of(AtFault::Url, found),
        _ => ConnectError::passing(found),
    }
}
