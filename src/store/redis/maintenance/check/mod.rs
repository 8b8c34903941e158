//! Verifying a tenant's data against guarantees, section 3.2, while it is served, and mending it.
//!
//! `walk` goes through all keys of the tenant, and tells by its name what each key should hold. `rows` looks for each
//! row in the indexes in which it belongs. `indexes` looks at each index for members that don't belong there.
//! `records` looks whether each record of refresh tokens can be read, and `users` does so for users and identities, and looks
//! whether an identity is in its user's set. `pending` looks whether each pending authorization can be read, ends and is
//! counted, and `places` whether the sets that count them have members that don't belong there.
//!
//! All but the records leave the verdict to a script, which sees row and index as of one instant. So each [`Finding`] was true at that
//! instant, even if others write meanwhile, and what is mended is mended in the same step. A [`Report`] sums up the findings, and
//! `text` writes it for people.
//!
//! No row is ever changed: one that can't be read is reported, and stays.

mod finding;
mod indexes;
mod pending;
mod places;
mod progress;
mod records;
mod report;
mod rows;
mod text;
mod users;
mod walk;

pub use finding::{Finding, FindingKind, Severity};
pub use progress::CheckProgress;
pub use report::{Counts, Report, Sum};

use std::time::Duration;

use super::progress::Progress;
use crate::store::{
    Error, Sealing,
    redis::{
        RedisStore,
        keyspace::Keyspace,
        link::{Effect, Link},
        scripts::Scripts,
    },
};

/// How long each request waits for a new primary. A failover must not end a long walk.
const PATIENCE: Duration = Duration::from_secs(30);

/// Verifies a tenant's data.
#[derive(Debug)]
pub struct Check {
    link: Link,
    keys: Keyspace,
    scripts: Scripts,
    repair: bool,
    listed: usize,
    sealing: Option<Sealing>,
}

/// How many findings of a kind a report lists by default.
pub const LISTED: usize = 1_000;

impl Check {
    /// A check of the tenant of `store` that changes nothing.
    #[must_use]
    pub fn new(store: &RedisStore) -> Self {
        Self {
            link: store.link.patient(PATIENCE),
            keys: store.keys.clone(),
            scripts: store.redis.scripts().clone(),
            repair: false,
            listed: LISTED,
            sealing: None,
        }
    }

    /// Sets whether the check also mends what it can. It adds members that are missing in an index, takes out members
    /// that don't belong there, and gives an index that ends too early a later end. It changes and deletes no row, and
    /// makes no end earlier. A pending authorization without an end gets one.
    #[must_use]
    pub fn repairing(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// Sets the keys with which sealed rows are opened. Without any, a check sees only what is readable of them.
    #[must_use]
    pub fn opening(mut self, sealing: Sealing) -> Self {
        let has_keys = sealing.keys.ring().sealing().is_some();
        self.sealing = has_keys.then_some(sealing);
        self
    }

    /// Sets how many findings of each kind the report lists at most. The others are only counted.
    #[must_use]
    pub fn listing(mut self, listed: usize) -> Self {
        self.listed = listed;
        self
    }

    /// Checks all keys of the tenant, and again if servers changed meanwhile.
    ///
    /// The check takes at most half of Redis' time: after each page of keys it rests as long as the page took. In memory
    /// it holds a page, the listed findings, and a few bytes for each other finding.
    ///
    /// # Errors
    /// [`Error::Unavailable`]. What was mended until then stays mended.
    pub async fn run(&self, progress: &dyn Progress<CheckProgress>) -> Result<Report, Error> {
        walk::walk(self, progress).await
    }

    /// A script may be sent again: it mends only what it finds wrong.
    fn effect(&self) -> Effect {
        if self.repair {
            Effect::Writes
        } else {
            Effect::Reads
        }
    }
}
