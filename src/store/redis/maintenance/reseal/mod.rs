//! Sealing rows again with the first key, and counting which key each row is sealed with (guarantees, section 7).
//!
//! [`Reseal`] goes through all rows while they are served. `row` decides about one row. A script writes it if it still has
//! the bytes that were read, so that nothing that is written meanwhile is undone. What is done shows in the rows
//! themselves: who is interrupted begins again, and finds the rows done that are. [`Report`] sums up.

mod advice;
mod progress;
mod report;
mod row;
mod walk;

use std::time::Duration;

pub use self::{
    progress::{Done, ResealProgress},
    report::{Counts, Report},
};
use super::progress::Progress;
use crate::store::{
    Error, Sealing,
    redis::{RedisStore, keyspace::Keyspace, link::Link, scripts::Scripts},
};

/// How long each request waits for a new primary. A failover must not end a long walk.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many passes over the rows there are at most. Brokers that seal with another key meanwhile make more of them
/// necessary.
const PASSES: usize = 10;

/// The part of Redis' time that is taken, as long as nothing else is said, in percent.
pub const SHARE: u8 = 25;

/// A walk over a tenant's rows that seals them again, or only counts them.
#[derive(Debug)]
pub struct Reseal {
    link: Link,
    keys: Keyspace,
    scripts: Scripts,
    sealing: Sealing,
    share: u8,
}

impl Reseal {
    /// Returns a walk over the rows of the tenant of `store`, which has these keys.
    #[must_use]
    pub fn new(store: &RedisStore, sealing: Sealing) -> Self {
        Self {
            link: store.link.patient(PATIENCE),
            keys: store.keys.clone(),
            scripts: store.redis.scripts().clone(),
            sealing,
            share: SHARE,
        }
    }

    /// Sets the part of Redis' time that the walk takes at most, in percent: after each batch it rests. Anything below 1
    /// counts as 1, and anything above 100 as 100.
    #[must_use]
    pub fn taking(mut self, share: u8) -> Self {
        self.share = share.clamp(1, 100);
        self
    }

    /// Counts which key each row is sealed with. Changes nothing.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn status(&self, progress: &dyn Progress<ResealProgress>) -> Result<Report, Error> {
        self.pass(false, progress, Done::default()).await
    }

    /// Seals all rows with the first key that aren't, again and again until a pass finds none.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], also if there is no key, or the tenant is in its grace period. What was done until
    /// then stays done.
    pub async fn run(&self, progress: &dyn Progress<ResealProgress>) -> Result<Report, Error> {
        if self.sealing.keys.ring().sealing().is_none() {
            return Err(Error::unavailable("there is no key to seal with"));
        }
        let mut done = Done::default();
        for _ in 1..PASSES {
            let report = self.pass(true, progress, done).await?;
            done = report.done;
            if report.done_in_pass == 0 && report.counts.unsettled == 0 {
                return Ok(report);
            }
        }
        self.pass(true, progress, done).await
    }

    /// How long to rest after some work.
    fn rest(&self, took: Duration) -> Duration {
        took * u32::from(100 - self.share) / u32::from(self.share)
    }
}
