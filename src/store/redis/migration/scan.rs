//! Going through all keys of the tenant.

use redis::Value;

use crate::{
    error::Error,
    store::redis::{pool::Pool, reply},
};

/// How many keys of the database Redis looks at for one page: 1 to 3 ms of its time.
const COUNT: usize = 1_000;

/// A walk over the keys that match a pattern. A key that is there all the time is found, perhaps
/// more than once.
#[derive(Debug)]
pub struct Scan<'a> {
    pool: &'a Pool,
    pattern: String,
    cursor: u64,
    begun: bool,
}

impl<'a> Scan<'a> {
    /// A walk over the keys that match `pattern`.
    pub fn new(pool: &'a Pool, pattern: String) -> Self {
        Self {
            pool,
            pattern,
            cursor: 0,
            begun: false,
        }
    }

    /// The next keys; `None` at the end.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn page(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        if self.begun && self.cursor == 0 {
            return Ok(None);
        }
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor)
            .arg("MATCH")
            .arg(&self.pattern)
            .arg("COUNT")
            .arg(COUNT);
        let mut answer = reply::list(self.pool.read(&scan).await?)?.into_iter();
        let cursor = answer.next().unwrap_or(Value::Nil);
        let keys = answer.next().unwrap_or(Value::Nil);
        self.cursor = reply::parse(cursor)?;
        self.begun = true;
        reply::parse(keys).map(Some)
    }

    /// How much of the database was looked at, 0 to 1. Redis counts its cursor up in reversed
    /// binary, so that reversed again it tells the part of the table that is done, whoever else's
    /// keys are in it. An estimate for people only: on a server that counts otherwise it is off.
    pub fn done(&self) -> f64 {
        if self.begun && self.cursor == 0 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let done = self.cursor.reverse_bits() as f64 / 2f64.powi(64);
        done
    }
}
