//! What a migration did, or would do.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{LegacyMapping, outcome::Outcome};

/// What became of all older data. A dry run's and that of the run after it are equal but for
/// [`Report::dry_run`] (guarantees, section 5, M8).
///
/// It names keys, and a key holds a session's id: it is for the operator who asked, never for a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]

pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The mapping that was used: protocol type to provider.
    pub mapping: LegacyMapping,
    /// Rows of the older layout.
    pub rows: Counts,
    /// Identities of the mapped types.
    pub identities: Counts,
    /// What can't be migrated (M6), by key.
    pub failed: Vec<Entry>,
    /// What is left as it is (M3), by key.
    pub left_alone: Vec<Entry>,
    /// Whether other software may still write to the tenant (M7).
    pub grace_period: bool,
}

/// How many pieces came to each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the text of the report spells them out")]
pub struct Counts {
    pub migrated: u64,
    pub superseded: u64,
    pub dropped: u64,
    pub present: u64,
    pub null: u64,
    pub vanished: u64,
    pub left_alone: u64,
    pub failed: u64,
}

/// A key that the operator may have to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Entry {
    /// The key; what isn't UTF-8 in it is replaced.
    pub key: String,
    /// Why it is listed.
    pub reason: String,
    /// Which kind of reason that is: the only part that may be logged.
    #[serde(skip)]
    pub kind: &'static str,
}

impl Counts {
    /// How many were changed or would be.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.migrated + self.superseded + self.dropped
    }

    /// How many need nothing done to them.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.present + self.null + self.vanished + self.left_alone
    }

    fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("migrated", self.migrated),
            ("superseded an earlier migration", self.superseded),
            ("dropped for a newer row", self.dropped),
            ("copied before", self.present),
            ("null", self.null),
            ("vanished meanwhile", self.vanished),
            ("left alone", self.left_alone),
            ("failed", self.failed),
        ]
    }
}

impl Report {
    pub(super) fn new(mapping: &LegacyMapping, dry_run: bool) -> Self {
        Self {
            dry_run,
            mapping: mapping.clone(),
            ..Self::default()
        }
    }

    /// Whether everything could be migrated.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    pub(super) fn note(&mut self, is_row: bool, key: &str, outcome: &Outcome) {
        let counts = if is_row {
            &mut self.rows
        } else {
            &mut self.identities
        };
        let (count, listed) = match outcome {
            Outcome::Migrated => (&mut counts.migrated, None),
            Outcome::Superseded => (&mut counts.superseded, None),
            Outcome::Dropped => (&mut counts.dropped, None),
            Outcome::Present => (&mut counts.present, None),
            Outcome::Null => (&mut counts.null, None),
            Outcome::Vanished => (&mut counts.vanished, None),
            Outcome::LeftAlone(reason) => {
                (&mut counts.left_alone, Some((&mut self.left_alone, reason)))
            }
            Outcome::Failed(reason) => (&mut counts.failed, Some((&mut self.failed, reason))),
        };
        *count += 1;
        if let Some((list, reason)) = listed {
            list.push(Entry {
                key: key.to_owned(),
                reason: reason.to_string(),
                kind: reason.kind(),
            });
        }
    }

    /// The same with what an earlier round, which had to be repeated, changed.
    pub(super) fn after(mut self, earlier: &Self) -> Self {
        for (counts, before) in [
            (&mut self.rows, &earlier.rows),
            (&mut self.identities, &earlier.identities),
        ] {
            counts.migrated += before.migrated;
            counts.superseded += before.superseded;
            counts.dropped += before.dropped;
        }
        self
    }

    /// Puts the lists into an order that doesn't depend on Redis.
    pub(super) fn sort(&mut self) {
        self.failed.sort_unstable();
        self.left_alone.sort_unstable();
    }

    /// Writes counts and kinds of reasons to the log.
    pub(super) fn log(&self) {
        let (rows, identities) = (&self.rows, &self.identities);
        tracing::info!(
            dry_run = self.dry_run,
            rows_migrated = rows.migrated + rows.superseded,
            rows_dropped = rows.dropped,
            rows_left_alone = rows.left_alone,
            rows_failed = rows.failed,
            identities_copied = identities.migrated,
            identities_failed = identities.failed,
            grace_period = self.grace_period,
            "looked through the data of older software"
        );
        for (what, list) in [
            ("left alone", &self.left_alone),
            ("can't be migrated", &self.failed),
        ] {
            let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
            for entry in list {
                *kinds.entry(entry.kind).or_default() += 1;
            }
            for (reason, count) in kinds {
                tracing::warn!(count, reason, "older data {what}");
            }
        }
    }
}

/// As the `migrate` command prints it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            writeln!(
                f,
                "Dry run: nothing was changed. A run would give this report:"
            )?;
        }
        let mapping: Vec<_> = self
            .mapping
            .pairs()
            .map(|(protocol, provider)| format!("{protocol} = {provider}"))
            .collect();
        let mapping = if mapping.is_empty() {
            "none".to_owned()
        } else {
            mapping.join(", ")
        };
        writeln!(f, "Mapping: {mapping}")?;
        for (what, counts) in [
            ("Rows of the older layout", &self.rows),
            ("Identities of mapped types", &self.identities),
        ] {
            writeln!(
                f,
                "{what}: {}",
                counts.named().iter().map(|(_, n)| n).sum::<u64>()
            )?;
            for (outcome, count) in counts.named() {
                if count > 0 {
                    writeln!(f, "  {outcome}: {count}")?;
                }
            }
        }
        for (what, list) in [("Left alone", &self.left_alone), ("Failed", &self.failed)] {
            if !list.is_empty() {
                writeln!(f, "{what}:")?;
            }
            for Entry { key, reason, .. } in list {
                writeln!(f, "  {}: {reason}", key.escape_debug())?;
            }
        }
        let grace = if self.grace_period {
            "open: other software may write; `migrate --finish` ends it"
        } else {
            "none"
        };
        writeln!(f, "Grace period: {grace}")
    }
}
