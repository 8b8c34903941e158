//! What a migration did, or what it would do: what became of each piece of older data, and the sums.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::LegacyMapping;
use crate::{store::redis::row::rewrite::NotAnObject, types::KeyId};

/// What became of a piece of older data in a run, or would become of it in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is now where it belongs: a row was moved, an identity was copied.
    Migrated,
    /// It replaced the row that an earlier migration made of the same session (M2).
    Superseded,
    /// The older row was dropped, because another writer had put a newer one under the new key (M2).
    Dropped,
    /// The identity had been copied before.
    Present,
    /// The older row is `null`, which is no row. It is left alone.
    Null,
    /// It was gone before it could be read.
    Vanished,
    /// It is readable, and deliberately left as it is.
    LeftAlone(Reason),
    /// It can't be migrated.
    Failed(Reason),
}

/// Why a piece of older data is left alone or can't be migrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its `provider_id` is a provider's name already (M3).
    Logical(String),
    /// The identity under the provider's name belongs to another user (M4).
    OtherUser,
    /// Its `provider_id` is a protocol type, or empty, and no mapping says which provider that is.
    Unmapped(String),
    /// Its value can't be rewritten.
    Corrupt(NotAnObject),
    /// Its value can be rewritten, but no reader could decode it afterwards.
    Unreadable(String),
    /// What exists under the new key can't be decoded or opened. Only a person can say which of the two counts.
    UnreadableTarget(String),
    /// What exists under the new key is sealed with a key that isn't here. Who has it can say which of the two counts.
    TargetKeyMissing(KeyId),
    /// The identity names no user.
    NoUser,
    /// The identity names another subject than its key.
    OtherSubject,
    /// No id gives this key: it isn't UTF-8, or it ends where an id should begin.
    KeyIsNoId,
    /// The key holds another type of value.
    NotAString,
    /// The new key or an index holds another type of value.
    WrongType,
    /// Other writers changed it each time that it was looked at.
    KeptChanging,
}

impl Reason {
    /// Returns the reason for a log, without anything that was stored.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Logical(_) => "it has a provider's name already",
            Self::OtherUser => "the provider's identity is another user's",
            Self::Unmapped(_) => "its protocol type is not mapped",
            Self::Corrupt(_) | Self::Unreadable(_) => "it is corrupt",
            Self::UnreadableTarget(_) => "what is under the new key is corrupt",
            Self::TargetKeyMissing(_) => {
                "what is under the new key is sealed with a key that is not here"
            }
            Self::NoUser => "it names no user",
            Self::OtherSubject => "it names another subject than its key",
            Self::KeyIsNoId => "its key holds no id",
            Self::NotAString => "it is no string",
            Self::WrongType => "the new key or an index has another type",
            Self::KeptChanging => "it kept changing",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logical(name) => write!(f, "its provider_id is a provider's name: {name:?}"),
            Self::OtherUser => f.write_str("another user has this subject at the provider already"),
            Self::Unmapped(protocol) if protocol.is_empty() => f.write_str(
                "its provider_id is empty, which is mapped only where exactly one type is",
            ),
            Self::Unmapped(protocol) => {
                write!(f, "its provider_id is {protocol:?}, which is not mapped")
            }
            Self::Corrupt(what) => write!(f, "the value {what}"),
            Self::Unreadable(what) => write!(f, "the value can't be read: {what}"),
            Self::UnreadableTarget(what) => {
                write!(f, "what is under the new key can't be read: {what}")
            }
            Self::TargetKeyMissing(key) => write!(
                f,
                "what is under the new key is sealed with the key {key}, which isn't in seal-keys"
            ),
            Self::NoUser => f.write_str("the value names no user"),
            Self::OtherSubject => f.write_str("the value names another subject than the key"),
            Self::KeyIsNoId => f.write_str("the key holds no id"),
            Self::NotAString => f.write_str("the key holds no string"),
            Self::WrongType => {
                f.write_str("the new key or an index of it holds another type of value")
            }
            Self::KeptChanging => f.write_str("it changed each time that it was looked at"),
        }
    }
}

/// What became of all older data. The report of a dry run equals that of the run after it, except for
/// [`Report::dry_run`] (guarantees, section 5, M8).
///
/// A report names keys, and a key holds a session's id. It is for the operator who asked, never for a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The mapping that was used, from protocol type to provider.
    pub mapping: LegacyMapping,
    /// Rows of the older layout.
    pub rows: Counts,
    /// Identities of the mapped types.
    pub identities: Counts,
    /// What can't be migrated (M6), ordered by key.
    pub failed: Vec<Entry>,
    /// What is left as it is (M3), ordered by key.
    pub left_alone: Vec<Entry>,
    /// Whether other software may still write to the tenant (M7).
    pub grace_period: bool,
    /// Whether the tenant holds no data.
    pub is_empty: bool,
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
    /// The key, with replacements for what isn't UTF-8.
    pub key: String,
    /// Why the key is listed.
    pub reason: String,
    /// The reason without anything that was stored. Of an entry, only this may be logged.
    #[serde(skip)]
    pub kind: &'static str,
}

impl Counts {
    /// Returns how many pieces were changed, or would be.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.migrated + self.superseded + self.dropped
    }

    /// Returns how many pieces need no change.
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
            is_empty: true,
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

    /// Adds what an earlier round changed that had to be repeated.
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

    /// Writes counts and kinds of reasons to the log, but no keys.
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

/// Writes the report as the `migrate` command prints it.
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
