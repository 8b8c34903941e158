//! Verifying what always holds of a tenant's data (guarantees, section 3.2) while it is served, and
//! mending it.
//!
//! A walk goes through all keys of the tenant; `place` tells what each should be. `rows` looks for each
//! row in the indexes that it belongs into, `indexes` at each index for members that don't belong there.
//! Both leave the verdict to a script, which sees row and index as of one instant: what is reported was
//! so, whoever else writes, and what is mended is mended in that same step. A [`Report`] says what was
//! wrong.
//!
//! Rows are read only: a row that can't be read is reported and stays.

mod finding;
mod indexes;
mod kind;
mod progress;
mod report;
mod role;
mod rows;
mod text;
mod walk;

pub use finding::Finding;
pub use kind::{FindingKind, Weight};
pub use progress::CheckProgress;
pub use report::{Counts, Report, Sum};

use std::time::Duration;

use super::progress::Progress;
use crate::{
    error::Error,
    store::redis::{
        RedisStore,
        keyspace::Keyspace,
        link::{Effect, Link},
        scripts::Scripts,
    },
};

/// How long a request waits for another server to take over: a failover must not end a long walk.
const PATIENCE: Duration = Duration::from_secs(30);

/// Verifies a tenant's data.
#[derive(Debug)]
pub struct Check {
    link: Link,
    keys: Keyspace,
    scripts: Scripts,
    repair: bool,
    listed: usize,
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
            scripts: store.scripts.clone(),
            repair: false,
            listed: LISTED,
        }
    }

    /// Also mends what can be mended: members that are missing in an index are added, those that
    /// don't belong there are taken out, and an index that ends too early gets a later end. No row is
    /// changed or deleted, and no end becomes earlier.
    #[must_use]
    pub fn repairing(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// Lists so many findings of each kind at most; the others are only counted.
    #[must_use]
    pub fn listing(mut self, listed: usize) -> Self {
        self.listed = listed;
        self
    }

    /// Goes through all keys of the tenant; again if servers changed meanwhile.
    ///
    /// It takes at most half of the time for Redis, resting as long after each page of keys as the page
    /// took. Memory is that of a page, of the findings that are listed, and a few bytes for each other.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`]. What was mended until then stays mended.
    pub async fn run(&self, progress: &dyn Progress<CheckProgress>) -> Result<Report, Error> {
        walk::walk(self, progress).await
    }

    /// To send a script again is safe: it mends what it finds wrong, and nothing else.
    fn effect(&self) -> Effect {
        if self.repair {
            Effect::Guarded
        } else {
            Effect::Reads
        }
    }
}
