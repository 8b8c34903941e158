//! What is remembered in Redis of a completed migration (guarantees, section 5, M7).

use serde::{Deserialize, Serialize};

use super::LegacyMapping;
use crate::{
    error::Error,
    store::redis::{
        keyspace::Keyspace,
        link::{Effect, Link},
        reply,
    },
    types::UnixTime,
};

/// The record of the last completed migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The mapping that was completed.
    pub mapping: LegacyMapping,
    /// When it was completed, for people who look.
    completed_at: i64,
    /// Whether an operator ended the grace period after it.
    #[serde(default)]
    pub finished: bool,
}

impl Record {
    /// A record of `mapping`, completed now.
    pub fn new(mapping: &LegacyMapping, finished: bool) -> Self {
        Self {
            mapping: mapping.clone(),
            completed_at: UnixTime::now().seconds(),
            finished,
        }
    }

    /// Whether nothing is left to do under the `configured` mapping: it is this one, or none, which
    /// asks for nothing.
    pub fn covers(&self, configured: &LegacyMapping) -> bool {
        configured.is_empty() || self.mapping == *configured
    }

    /// Reads the record. One that can't be decoded counts as none: to migrate once more does no
    /// harm.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], as for the other functions.
    pub async fn read(link: &Link, keys: &Keyspace) -> Result<Option<Self>, Error> {
        let mut get = redis::cmd("GET");
        get.arg(keys.migration());
        let bytes = reply::bytes(link.read(&get).await?)?;
        let record = bytes.map(|bytes| serde_json::from_slice(&bytes));
        Ok(record.and_then(|record| {
            record
                .inspect_err(|_| tracing::warn!("the record of the migration can't be read"))
                .ok()
        }))
    }

    /// Writes the record.
    pub async fn write(&self, link: &Link, keys: &Keyspace) -> Result<(), Error> {
        let json = serde_json::to_vec(self)
            .map_err(|_| Error::store_unavailable("the record can't be written as JSON"))?;
        let mut set = redis::cmd("SET");
        set.arg(keys.migration()).arg(json);
        link.write(&set, Effect::Guarded).await.map(drop)
    }
}

/// Forgets the record: the next start migrates again.
pub async fn forget(link: &Link, keys: &Keyspace) -> Result<(), Error> {
    let mut del = redis::cmd("DEL");
    del.arg(keys.migration());
    link.write(&del, Effect::Guarded).await.map(drop)
}
