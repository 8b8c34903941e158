//! What Redis remembers of a completed migration (guarantees, section 5, M7). It spares later starts a pass.

use serde::{Deserialize, Serialize};

use super::{LegacyMapping, Migration};
use crate::{
    store::{
        Error,
        redis::{
            keyspace::Keyspace,
            link::{Link, reply},
            maintenance::{grace::Notes, lease::Lease, repeated},
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
    /// Whether the grace period was open when this was noted. Then its mark has to be there.
    #[serde(default)]
    pub grace_period: bool,
    /// Greater than that of every earlier record of the tenant. 0 in a record of an older version.
    #[serde(default)]
    pub number: u64,
}

/// What is remembered, as of one instant.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The last completed migration. What can't be decoded counts as nothing, because it does no harm to migrate once
    /// more.
    pub record: Option<CompletedMigration>,
    /// Whether the mark of the grace period is there.
    pub is_marked: bool,
}

impl Remembered {
    /// Reads what is remembered, which is one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn read(link: &Link, keys: &Keyspace) -> Result<Self, Error> {
        let Notes { is_marked, record } = Notes::read(link, keys).await?;
        let record = record.map(|bytes| serde_json::from_slice(&bytes));
        Ok(Self {
            record: record.and_then(|record| {
                record
                    .inspect_err(|_| tracing::warn!("the record of the migration can't be read"))
                    .ok()
            }),
            is_marked,
        })
    }

    /// Whether a mark is missing that has to be there.
    pub fn lacks_mark(&self) -> bool {
        let demands = |record: &CompletedMigration| record.grace_period && !self.is_marked;
        self.record.as_ref().is_some_and(demands)
    }

    /// Whether nothing is left to do under the `configured` mapping.
    pub fn covers(&self, configured: &LegacyMapping) -> bool {
        let covers = |record: &CompletedMigration| record.covers(configured);
        self.record.as_ref().is_some_and(covers) && !self.lacks_mark()
    }

    /// Whether a broker may go on that `relied` on this record, or on none. It may not if the record is gone, or is an
    /// earlier one that says something else.
    pub fn upholds(&self, relied: Option<&CompletedMigration>) -> bool {
        let Some(relied) = relied else {
            return !self.lacks_mark();
        };
        let upholds = |record: &CompletedMigration| {
            let says_the_same = record.mapping == relied.mapping
                && (record.grace_period || !relied.grace_period || record.number == 0);
            record.number >= relied.number || says_the_same
        };
        self.record.as_ref().is_some_and(upholds) && !self.lacks_mark()
    }
}

impl CompletedMigration {
    /// A migration under `mapping` that is complete now, and comes after the one with the number `last`.
    pub fn new(mapping: &LegacyMapping, finished: bool, grace_period: bool, last: u64) -> Self {
        Self {
            mapping: mapping.clone(),
            completed_at: UnixTime::now().seconds(),
            finished,
            grace_period,
            number: last.saturating_add(1),
        }
    }

    /// Whether nothing is left to do under the `configured` mapping: it is this one, or it is empty.
    pub fn covers(&self, configured: &LegacyMapping) -> bool {
        configured.is_empty() || self.mapping == *configured
    }

    /// Has Redis remember this migration instead of an earlier one. With it the mark of the grace period is set, or
    /// removed if `finish`. Returns `false`, and changes nothing, if `lease` lost its `mark`: another broker holds it,
    /// or a server took over that lacks some of what was migrated.
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
        let grace = match (finish, self.grace_period) {
            (true, _) => "over".to_owned(),
            (false, true) => self.completed_at.to_string(),
            (false, false) => String::new(),
        };
        let args = [mark.as_bytes(), &json, grace.as_bytes()];
        let script = &migration.scripts.complete;
        reply::parse(repeated::call(link, script, &keys, &args).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(mapping: &str, grace_period: bool, number: u64) -> CompletedMigration {
        let mut pairs = LegacyMapping::default();
        if !mapping.is_empty() {
            pairs.add(mapping).unwrap();
        }
        CompletedMigration::new(&pairs, false, grace_period, number - 1)
    }

    fn upholds(now: Option<CompletedMigration>, is_marked: bool, relied: &str) -> bool {
        let relied = record(relied, true, 5);
        let record = now;
        Remembered { record, is_marked }.upholds(Some(&relied))
    }

    #[test]
    fn a_later_record_counts_whatever_it_says() {
        assert!(upholds(
            Some(record("oidc=okta", true, 5)),
            true,
            "oidc=okta"
        ));
        assert!(upholds(
            Some(record("oidc=entra", true, 6)),
            true,
            "oidc=okta"
        ));
        assert!(upholds(
            Some(record("oidc=okta", false, 6)),
            false,
            "oidc=okta"
        ));
    }

    #[test]
    fn what_is_missing_or_earlier_and_says_less_does_not() {
        assert!(!upholds(None, true, "oidc=okta"));
        assert!(!upholds(
            Some(record("oidc=okta", true, 6)),
            false,
            "oidc=okta"
        ));
        assert!(!upholds(
            Some(record("oidc=okta", false, 4)),
            true,
            "oidc=okta"
        ));
        assert!(!upholds(Some(record("", true, 4)), true, "oidc=okta"));
    }

    #[test]
    fn an_earlier_record_that_says_the_same_does() {
        assert!(upholds(
            Some(record("oidc=okta", true, 4)),
            true,
            "oidc=okta"
        ));
    }
}
