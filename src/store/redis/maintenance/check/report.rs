//! What a check found.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{Finding, FindingKind, Weight};
use crate::store::redis::maintenance::seen::Seen;

/// What a check found, and what it mended.
///
/// It names keys, and a key holds a session's id: it is for the operator who asked, never for a log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether what could be mended was mended.
    pub repair: bool,
    /// What was looked at.
    pub counts: Counts,
    /// How many of each kind were found; kinds of which there was none are left out.
    pub found: BTreeMap<FindingKind, Sum>,
    /// What breaks an invariant, by kind and key.
    pub damage: Vec<Finding>,
    /// What rows leave behind that expire, until a write prunes it: no damage.
    pub leftovers: Vec<Finding>,
    /// Findings that are counted but not listed, because there are too many of their kind.
    pub not_listed: u64,
    /// How often a row was looked at again because it changed under the check's hands. Each would be a
    /// false finding of a check that doesn't look at row and indexes as of one instant.
    pub looked_again: u64,
    /// Whether other software may still write to the tenant (guarantees, section 5, M7).
    pub grace_period: bool,
    /// How long it took.
    pub seconds: f64,
    #[serde(skip)]
    listed: usize,
    /// A walk may find a key more than once, which must not count twice.
    #[serde(skip)]
    seen: Seen,
}

/// How many of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Were found.
    pub found: u64,
    /// Were mended.
    pub mended: u64,
}

/// What was looked at. Where others write meanwhile, and Redis shows a key twice, these are nearly
/// exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Keys of the tenant.
    pub keys: u64,
    /// Rows.
    pub rows: u64,
    /// Rows that are `null`, which are none to any reader.
    pub null_rows: u64,
    /// Rows of the older layout: left to the migration.
    pub legacy_rows: u64,
    /// Indexes of a session's rows.
    pub session_indexes: u64,
    /// Indexes of a user's rows.
    pub user_indexes: u64,
    /// Sets of a user's identities.
    pub identity_sets: u64,
    /// Members of all of these.
    pub members: u64,
    /// Keys that are none of these, as user records; not looked at.
    pub other_keys: u64,
    /// Rows that changed whenever they were looked at, so that nothing can be said of them.
    pub unsettled: u64,
}

/// What a batch of keys came to.
#[derive(Default)]
pub(super) struct Part {
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
            legacy_rows,
            session_indexes,
            user_indexes,
            identity_sets,
            members,
            other_keys,
            unsettled,
        } = other;
        self.keys += keys;
        self.rows += rows;
        self.null_rows += null_rows;
        self.legacy_rows += legacy_rows;
        self.session_indexes += session_indexes;
        self.user_indexes += user_indexes;
        self.identity_sets += identity_sets;
        self.members += members;
        self.other_keys += other_keys;
        self.unsettled += unsettled;
    }
}

impl Report {
    pub(super) fn new(repair: bool, listed: usize) -> Self {
        Self {
            repair,
            listed,
            ..Self::default()
        }
    }

    /// Before all keys are looked at, perhaps again. What was mended stays told.
    pub(super) fn begin_round(&mut self) {
        if self.repair {
            self.counts = Counts::default();
        } else {
            *self = Self::new(false, self.listed);
        }
    }

    pub(super) fn add(&mut self, part: Part) {
        self.counts.add(&part.counts);
        self.looked_again += part.looked_again;
        for finding in part.findings {
            if !self.seen.is_new(&finding.parts()) {
                continue;
            }
            let sum = self.found.entry(finding.kind).or_default();
            sum.found += 1;
            sum.mended += u64::from(finding.mended);
            if sum.found > self.listed as u64 {
                self.not_listed += 1;
                continue;
            }
            match finding.kind.weight() {
                Weight::Damage => self.damage.push(finding),
                Weight::Leftover => self.leftovers.push(finding),
            }
        }
    }

    /// How much is damaged, or was.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.sums(Weight::Damage).map(|(_, sum)| sum.found).sum()
    }

    /// How much damage is there still.
    #[must_use]
    pub fn unmended(&self) -> u64 {
        let left = |(_, sum): (_, Sum)| sum.found - sum.mended;
        self.sums(Weight::Damage).map(left).sum()
    }

    /// How much was mended, leftovers among it.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.found.values().map(|sum| sum.mended).sum()
    }

    /// How much of the damage that is there still a repair would mend.
    #[must_use]
    pub fn mendable(&self) -> u64 {
        let sums = self.sums(Weight::Damage);
        let mendable = sums.filter(|(kind, _)| kind.remedy().is_none() && !self.repair);
        mendable.map(|(_, sum)| sum.found).sum()
    }

    /// Those kinds of this weight that were found, in the order of a report.
    pub(super) fn sums(&self, weight: Weight) -> impl Iterator<Item = (FindingKind, Sum)> {
        let found = self.found.iter().map(|(&kind, &sum)| (kind, sum));
        found.filter(move |(kind, _)| kind.weight() == weight)
    }

    /// Puts the lists into an order that doesn't depend on Redis.
    pub(super) fn sort(&mut self) {
        self.damage.sort_unstable();
        self.leftovers.sort_unstable();
    }

    /// Writes counts and kinds to the log.
    pub(super) fn log(&self) {
        tracing::info!(
            keys = self.counts.keys,
            rows = self.counts.rows,
            damaged = self.damaged(),
            mended = self.mended(),
            seconds = self.seconds,
            "checked the tenant's data"
        );
        for (kind, sum) in self.sums(Weight::Damage) {
            let (kind, Sum { found, mended }) = (kind.name(), sum);
            tracing::warn!(kind, found, mended, "damaged data");
        }
    }
}

/// As the `check` command prints it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::text::write(self, f)
    }
}
