//! Going through all keys of the tenant.

use redis::Value;

use crate::{
    error::Error,
    store::redis::{
        pool::{Pool, failure},
        reply,
        topology::Standing,
        wire::{Connection, Verdict},
    },
};

/// How many keys of the database Redis looks at for one page: 1 to 3 ms of its time.
const COUNT: usize = 1_000;

/// A walk over the keys that match a pattern, on every server that may hold keys of the tenant. A key
/// that is there all the time is found, perhaps more than once, as long as the [`Standing`] stays.
#[derive(Debug)]
pub struct Scan<'a> {
    pool: &'a Pool,
    pattern: String,
    standing: Option<Standing>,
    /// How many servers are done.
    servers: usize,
    /// A connection of the walk's own: a cursor means nothing to another server.
    connection: Option<Connection>,
    cursor: u64,
    begun: bool,
}

impl<'a> Scan<'a> {
    /// A walk over the keys that match `pattern`.
    pub fn new(pool: &'a Pool, pattern: String) -> Self {
        Self {
            pool,
            pattern,
            standing: None,
            servers: 0,
            connection: None,
            cursor: 0,
            begun: false,
        }
    }

    /// The next keys; `None` at the end.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], also when a server is not the one that it was at the beginning.
    pub async fn page(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let standing = match self.standing.take() {
            Some(standing) => standing,
            None => self.pool.standing().await?,
        };
        let page = self.page_of(&standing).await;
        self.standing = Some(standing);
        page
    }

    async fn page_of(&mut self, standing: &Standing) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let Some(server) = standing.servers.get(self.servers) else {
            return Ok(None);
        };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.connect_to(server).await?,
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor)
            .arg("MATCH")
            .arg(&self.pattern)
            .arg("COUNT")
            .arg(COUNT);
        let answer = match connection.send(&scan).await {
            // A connection may end by itself, and its server go on.
            Err(error) if Verdict::of(&error) == Verdict::Ended => {
                connection = self.pool.connect_to(server).await?;
                connection.send(&scan).await
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| failure(&error))?;
        let mut answer = reply::list(answer)?.into_iter();
        self.cursor = reply::parse(answer.next().unwrap_or(Value::Nil))?;
        let keys = reply::parse(answer.next().unwrap_or(Value::Nil))?;
        self.begun = true;
        if self.cursor == 0 {
            self.servers += 1;
        } else {
            self.connection = Some(connection);
        }
        Ok(Some(keys))
    }

    /// How much of the database was looked at, 0 to 1. Redis counts its cursor up in reversed
    /// binary, so that reversed again it tells the part of the table that is done, whoever else's
    /// keys are in it. An estimate for people only: on a server that counts otherwise it is off.
    pub fn done(&self) -> f64 {
        let all = self
            .standing
            .as_ref()
            .map_or(1, |standing| standing.servers.len());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (done, all) = (
            self.servers as f64 + self.cursor.reverse_bits() as f64 / 2f64.powi(64),
            all as f64,
        );
        if self.begun { done / all } else { 0.0 }
    }
}
