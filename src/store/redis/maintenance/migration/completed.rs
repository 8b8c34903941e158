//! What Redis remembers of a completed migration (guarantees, section 5, M7). It spares later starts a pass.

use serde::{Deserialize, Serialize};

use super::{LegacyMapping, Migration};
use crate::{
    store::{
        Error,
        redis::{
            keyspace::Keyspace,
            link::{Link, reply},
            maintenance::{lease::Lease, repeated},
        },
    },
    types::UnixTime,
};

/// The last completed migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedMigration {
    /// The mapping under which everything was migrated.
    pub mapping: LegacyMapping,
    /// When it was completed. Only people read this.
    completed_at: i64,
    /// Whether an operator ended the grace period afterwards.
    #[serde(default)]
    pub finished: bool,
}

impl CompletedMigration {
    /// A migration under `mapping` that is complete now.
    pub fn new(mapping: &LegacyMapping, finished: bool) -> Self {
        Self {
            mapping: mapping.clone(),
            completed_at: UnixTime::now().seconds(),
            finished,
        }
    }

    /// Whether nothing is left to do under the `configured` mapping: it is this one, or it is empty.
    pub fn covers(&self, configured: &LegacyMapping) -> bool {
        configured.is_empty() || self.mapping == *configured
    }

    /// Reads what is remembered. What can't be decoded counts as nothing, because it does no harm to migrate once
    /// more.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn read(link: &Link, keys: &Keyspace) -> Result<Option<Self>, Error> {
        let mut get = redis::cmd("GET");
        get.arg(keys.migration());
        let bytes = reply::bytes(link.read(&get).await?)?;
        let completed = bytes.map(|bytes| serde_json::from_slice(&bytes));
        Ok(completed.and_then(|completed| {
            completed
                .inspect_err(|_| tracing::warn!("the record of the migration can't be read"))
                .ok()
        }))
    }

    /// Has Redis remember this migration instead of an earlier one, and ends the grace period with it if `finish`.
    /// Returns `false`, and changes nothing, if `lease` lost its `mark`: another broker holds it, or a server took over
    /// that lacks some of what was migrated.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn write(
        &self,
        migration: &Migration,
        lease: &Lease,
        mark: &str,
        finish: bool,
    ) -> Result<bool, Error> {
        let json = serde_json::to_vec(self)
            .map_err(|_| Error::unavailable("the record can't be written as JSON"))?;
        let Migration { link, keys, .. } = migration;
        let keys = [lease.key(), &keys.migration(), &keys.grace()];
        let finish: &[u8] = if finish { b"1" } else { b"" };
        let args = [mark.as_bytes(), &json, finish];
        let script = &migration.scripts.complete;
        reply::parse(repeated::call(link, script, &keys, &args).await?)
    }
}
