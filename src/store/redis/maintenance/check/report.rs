//! What a check found.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{Finding, FindingKind, Severity};
use crate::store::redis::maintenance::{seen::Seen, tenants::TenantsWithData};

/// What a check found, and what it mended.
///
/// A report names keys, and a key holds a session's id. It is for the operator who asked, never for a log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The tenant's name.
    pub tenant: String,
    /// Whether the check mended what it could.
    pub repair: bool,
    /// What was looked at.
    pub counts: Counts,
    /// How many findings there are of each kind. A kind without any is left out.
    pub found: BTreeMap<FindingKind, Sum>,
    /// What breaks the guarantees, ordered by kind and key.
    pub damage: Vec<Finding>,
    /// What expired rows left behind until a write prunes it. This is no damage.
    pub leftovers: Vec<Finding>,
    /// How many findings are counted but not listed, because there are too many of their kind.
    pub not_listed: u64,
    /// How often a row was looked at again because it changed meanwhile. Each time, a check that doesn't look at row
    /// and indexes as of one instant could have made a false finding.
    pub looked_again: u64,
    /// Whether other software may still write to the tenant (guarantees, section 5, M7).
    pub grace_period: bool,
    /// Whether a broker has noted that the tenant's data is migrated. If not, no call finds rows of the older layout.
    pub is_migrated: bool,
    /// The tenants of this Redis that hold data, if the checked one holds none: its name may be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants_with_data: Option<TenantsWithData>,
    /// The policy by which Redis may evict keys (`maxmemory-policy`), if it isn't `noeviction`.
    pub eviction: Option<String>,
    /// How many seconds the check took.
    pub seconds: f64,
    #[serde(skip)]
    listed: usize,
    /// A walk may find a key more than once, but a finding must not count twice.
    #[serde(skip)]
    seen: Seen,
}

/// How many findings there are of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many were found.
    pub found: u64,
    /// How many of them were mended.
    pub mended: u64,
}

/// How much was looked at. A key that Redis shows twice, because others write meanwhile, counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Keys of the tenant.
    pub keys: u64,
    /// Rows.
    pub rows: u64,
    /// Rows that are `null`, which every reader takes for no row.
    pub null_rows: u64,
    /// Rows that are sealed.
    pub sealed_rows: u64,
    /// Those of them whose key isn't in `seal-keys`. 0 if no key is.
    pub key_missing: u64,
    /// Rows of the older layout, which are left to the migration.
    pub legacy_rows: u64,
    /// Indexes of a session's rows.
    pub session_indexes: u64,
    /// Indexes of a user's rows.
    pub user_indexes: u64,
    /// Records of users.
    pub users: u64,
    /// Identities.
    pub identities: u64,
    /// Sets of a user's identities.
    pub identity_sets: u64,
    /// Members of all of these.
    pub members: u64,
    /// Those of the members that are rows in another spelling than the broker's. Other software owns them, and a
    /// repair leaves them alone.
    pub others_rows: u64,
    /// The brokers' own records.
    pub records: u64,
    /// Pending authorizations.
    pub pending: u64,
    /// Those of them that are sealed under a key that isn't in `seal-keys`. 0 if no key is.
    pub pending_key_missing: u64,
    /// Other keys. They aren't looked at.
    pub other_keys: u64,
    /// Rows of which nothing can be said, because they changed each time that they were looked at.
    pub unsettled: u64,
}

/// What was found in a batch of keys.
#[derive(Default)]
pub(super) struct BatchFindings {
    pub counts: Counts,
    pub findings: Vec<Finding>,
    pub looked_again: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        let Self {
            keys,
            rows,
            null_rows,
            sealed_rows,
            key_missing,
            legacy_rows,
            session_indexes,
            user_indexes,
            users,
            identities,
            identity_sets,
            members,
            others_rows,
            records,
            pending,
            pending_key_missing,
            other_keys,
            unsettled,
        } = other;
        self.keys += keys;
        self.rows += rows;
        self.null_rows += null_rows;
        self.sealed_rows += sealed_rows;
        self.key_missing += key_missing;
        self.legacy_rows += legacy_rows;
        self.session_indexes += session_indexes;
        self.user_indexes += user_indexes;
        self.users += users;
        self.identities += identities;
        self.identity_sets += identity_sets;
        self.members += members;
        self.others_rows += others_rows;
        self.records += records;
        self.pending += pending;
        self.pending_key_missing += pending_key_missing;
        self.other_keys += other_keys;
        self.unsettled += unsettled;
    }
}

impl Report {
    pub(super) fn new(tenant: &str, repair: bool, listed: usize) -> Self {
        Self {
            tenant: tenant.to_owned(),
            repair,
            listed,
            ..Self::default()
        }
    }

    /// Begins a round, which looks at all keys again. The report keeps what an earlier round mended.
    pub(super) fn begin_round(&mut self) {
        if self.repair {
            self.counts = Counts::default();
        } else {
            *self = Self::new(&self.tenant, false, self.listed);
        }
    }

    pub(super) fn add(&mut self, batch: BatchFindings) {
        self.counts.add(&batch.counts);
        self.looked_again += batch.looked_again;
        for finding in batch.findings {
            if !self.seen.insert(&finding.parts()) {
                continue;
            }
            let sum = self.found.entry(finding.kind).or_default();
            sum.found += 1;
            sum.mended += u64::from(finding.mended);
            if sum.found > self.listed as u64 {
                self.not_listed += 1;
                continue;
            }
            match finding.kind.severity() {
                Severity::Damage => self.damage.push(finding),
                Severity::Leftover => self.leftovers.push(finding),
            }
        }
    }

    /// Whether the tenant holds no data, but at most the brokers' own records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.keys == self.counts.records
    }

    /// Whether the tenant's name is probably wrong: no software has ever used it in this Redis, and other tenants hold
    /// data.
    #[must_use]
    pub fn is_misnamed(&self) -> bool {
        let others = self.tenants_with_data.as_ref();
        self.counts.keys == 0 && others.is_some_and(|others| !others.names.is_empty())
    }

    /// Returns how many rows no call finds, because no broker has migrated the tenant since they came.
    #[must_use]
    pub fn unmigrated(&self) -> u64 {
        if self.is_migrated {
            0
        } else {
            self.counts.legacy_rows
        }
    }

    /// Returns how much damage was found.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.sums(Severity::Damage).map(|(_, sum)| sum.found).sum()
    }

    /// Returns how much of the damage wasn't mended.
    #[must_use]
    pub fn unmended(&self) -> u64 {
        let left = |(_, sum): (_, Sum)| sum.found - sum.mended;
        self.sums(Severity::Damage).map(left).sum()
    }

    /// Returns how much was mended, including leftovers.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.found.values().map(|sum| sum.mended).sum()
    }

    /// Returns how much of the remaining damage a repair would mend.
    #[must_use]
    pub fn mendable(&self) -> u64 {
        let sums = self.sums(Severity::Damage);
        let mendable = sums.filter(|(kind, _)| kind.remedy().is_none() && !self.repair);
        mendable.map(|(_, sum)| sum.found).sum()
    }

    /// Returns the kinds of this severity that were found, in the order of a report.
    pub(super) fn sums(&self, severity: Severity) -> impl Iterator<Item = (FindingKind, Sum)> {
        let found = self.found.iter().map(|(&kind, &sum)| (kind, sum));
        found.filter(move |(kind, _)| kind.severity() == severity)
    }

    /// Puts the lists into an order that doesn't depend on Redis.
    pub(super) fn sort(&mut self) {
        self.damage.sort_unstable();
        self.leftovers.sort_unstable();
    }

    /// Writes counts and kinds to the log, but no keys.
    pub(super) fn log(&self) {
        tracing::info!(
            keys = self.counts.keys,
            rows = self.counts.rows,
            damaged = self.damaged(),
            mended = self.mended(),
            seconds = self.seconds,
            "checked the tenant's data"
        );
        if let Some(others) = &self.tenants_with_data {
            let others = tracing::field::display(others);
            tracing::warn!(tenant = self.tenant, %others, "the tenant holds no data");
        }
        for (kind, sum) in self.sums(Severity::Damage) {
            let (kind, Sum { found, mended }) = (kind.name(), sum);
            tracing::warn!(kind, found, mended, "damaged data");
        }
    }
}

/// Writes the report as the `check` command prints it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::text::write(self, f)
    }
}
