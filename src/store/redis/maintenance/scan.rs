//! A walk over the keys of the tenant.

use redis::Value;

use crate::{
    store::{
        Error,
        redis::link::{
            Link, failure, reply,
            topology::ServerSet,
            wire::{Connection, ErrorClass},
        },
    },
    types::SecretBytes,
};

/// How many keys of the database Redis looks at for one page. That takes 1 to 3 ms of its time.
const COUNT: usize = 1_000;

/// A walk over the keys that match a pattern, on every server that may hold keys of the tenant.
///
/// It finds each key that exists from its beginning to its end, unless another [`ServerSet`] holds the keys then.
/// It may find a key more than once.
#[derive(Debug)]
pub struct Scan<'a> {
    link: &'a Link,
    pattern: String,
    server_set: ServerSet,
    /// How many servers the walk has finished with.
    servers: usize,
    /// The walk's own connection, because a cursor means nothing to another server.
    connection: Option<Connection>,
    cursor: u64,
    begun: bool,
}

impl<'a> Scan<'a> {
    /// Returns a walk over the keys on `server_set` that match `pattern`. It hasn't begun.
    pub fn new(link: &'a Link, server_set: ServerSet, pattern: String) -> Self {
        Self {
            link,
            pattern,
            server_set,
            servers: 0,
            connection: None,
            cursor: 0,
            begun: false,
        }
    }

    /// Returns the next keys, or `None` at the end.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], also if a server was restarted or replaced since the beginning.
    pub async fn page(&mut self) -> Result<Option<Vec<SecretBytes>>, Error> {
        let Some(server) = self.server_set.servers.get(self.servers) else {
            return Ok(None);
        };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.link.connect_to(server).await?,
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor)
            .arg("MATCH")
            .arg(&self.pattern)
            .arg("COUNT")
            .arg(COUNT);
        let answer = match connection.send(&scan).await {
            // A connection may end although its server goes on.
            Err(error) if ErrorClass::of(&error) == ErrorClass::Ended => {
                connection = self.link.connect_to(server).await?;
                connection.send(&scan).await
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| failure(&error))?;
        let mut answer = reply::list(answer)?.into_iter();
        self.cursor = reply::parse(answer.next().unwrap_or(Value::Nil))?;
        let keys = reply::names(answer.next().unwrap_or(Value::Nil))?;
        self.begun = true;
        if self.cursor == 0 {
            self.servers += 1;
        } else {
            self.connection = Some(connection);
        }
        Ok(Some(keys))
    }

    /// Estimates which part of the database the walk has looked at, 0 to 1. For people only.
    ///
    /// Redis counts its cursor up in reversed binary. Reversed again, the cursor tells how much of the table
    /// is done, whatever else the database holds. On a server that counts in another way the estimate is
    /// wrong.
    pub fn done(&self) -> f64 {
        let all = self.server_set.servers.len();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (done, all) = (
            self.servers as f64 + self.cursor.reverse_bits() as f64 / 2f64.powi(64),
            all as f64,
        );
        if self.begun { done / all } else { 0.0 }
    }
}
