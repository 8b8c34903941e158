//! Which keys a tenant's rows are sealed with.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{advice, progress::Done, row::SealedWith};
use crate::{
    error::Unreadable,
    store::{Sealing, redis::maintenance::tenants::TenantsWithData},
};

/// What a walk over the rows found and did. It names no key of Redis.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The tenant's name.
    pub tenant: String,
    /// The key that seals: its name, a dot, its fingerprint. `None`: nothing is sealed.
    pub sealing: Option<String>,
    /// All keys that are here, told in the same way.
    pub keys: Vec<String>,
    /// What the rows are sealed with.
    pub counts: Counts,
    /// What was done in all passes.
    pub done: Done,
    /// How many rows were sealed in the last pass.
    pub done_in_pass: u64,
    /// Whether the tenant is in its grace period, in which nothing is sealed.
    pub in_grace: bool,
    /// Whether rows that aren't sealed can't be read.
    pub require_sealed: bool,
    /// The tenants that hold data, if this one has no row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants_with_data: Option<TenantsWithData>,
    /// How many seconds the last pass took.
    pub seconds: f64,
}

/// How many rows there are, by what they are sealed with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows that are sealed, by the key.
    pub sealed: BTreeMap<String, u64>,
    /// Rows that aren't sealed.
    pub plain: u64,
    /// Rows in the layout of older software. They aren't sealed, brokers don't read them, and they stay as they are.
    pub older: u64,
    /// Rows of which it can't be told.
    pub unknown: u64,
    /// Those of all these whose key isn't here.
    pub key_missing: u64,
    /// Those of all these that can't be read although their key is here: they are damaged, or plain while
    /// `require-sealed` is on.
    pub unreadable: u64,
    /// Rows of which nothing can be said, because they changed each time that they were looked at.
    pub unsettled: u64,
}

impl Counts {
    pub(super) fn add(&mut self, with: &SealedWith) {
        match with {
            SealedWith::Key(key) => *self.sealed.entry(key.to_string()).or_default() += 1,
            SealedWith::Nothing => self.plain += 1,
            SealedWith::Unknown => self.unknown += 1,
        }
    }

    pub(super) fn add_unreadable(&mut self, unreadable: &Unreadable) {
        match unreadable {
            Unreadable::KeyMissing(_) => self.key_missing += 1,
            Unreadable::Damaged(_) => self.unreadable += 1,
        }
    }
}

impl Report {
    pub(super) fn new(sealing: &Sealing, done: Done) -> Self {
        let ring = sealing.keys.ring();
        Self {
            tenant: sealing.tenant.to_string(),
            sealing: ring.sealing().map(ToString::to_string),
            keys: ring.ids().map(ToString::to_string).collect(),
            counts: Counts::default(),
            done: Done {
                passes: done.passes + 1,
                ..done
            },
            done_in_pass: 0,
            in_grace: false,
            require_sealed: sealing.require_sealed,
            tenants_with_data: None,
            seconds: 0.0,
        }
    }

    /// Notes that a row was sealed with the first key.
    pub(super) fn resealed(&mut self) {
        self.done.resealed += 1;
        self.done_in_pass += 1;
        if let Some(key) = &self.sealing {
            *self.counts.sealed.entry(key.clone()).or_default() += 1;
        }
    }

    /// Whether all rows are sealed with the first key, can be read, and stay so.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.left() == 0 && self.counts.unreadable == 0 && self.done_in_pass == 0
    }

    /// Whether the tenant has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let counts = &self.counts;
        self.left() == 0 && counts.sealed.is_empty() && counts.key_missing + counts.unreadable == 0
    }

    /// Whether the tenant's name is probably wrong: it has no row, nothing was noted about it, and others hold data.
    #[must_use]
    pub fn is_misnamed(&self) -> bool {
        let others = self.tenants_with_data.as_ref();
        self.in_grace && others.is_some_and(|others| !others.names.is_empty())
    }

    /// Returns how many rows aren't sealed with the first key.
    #[must_use]
    pub fn left(&self) -> u64 {
        let Counts {
            sealed,
            plain,
            older,
            unknown,
            unsettled,
            ..
        } = &self.counts;
        let others = sealed
            .iter()
            .filter(|(key, _)| Some(*key) != self.sealing.as_ref());
        others.map(|(_, count)| count).sum::<u64>() + plain + older + unknown + unsettled
    }

    /// Returns the key here that has the name of `key`, and is another one.
    pub(super) fn namesake(&self, key: &str) -> Option<&str> {
        let (name, _) = key.split_once('.')?;
        let here = self.keys.iter().map(String::as_str);
        here.filter(|other| *other != key).find(|other| {
            other
                .split_once('.')
                .is_some_and(|(other, _)| other == name)
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seals = self.sealing.as_deref().unwrap_or("none");
        writeln!(f, "tenant: {}", self.tenant)?;
        writeln!(f, "keys: {} (seals: {seals})", list(&self.keys))?;
        for (key, count) in &self.counts.sealed {
            let note = match (self.keys.contains(key), self.namesake(key)) {
                (true, _) => "",
                (false, None) => ", which is not here",
                (false, Some(_)) => ", which is not here (the key of this name is another one)",
            };
            writeln!(f, "rows under {key}{note}: {count}")?;
        }
        writeln!(f, "rows that are not sealed: {}", self.counts.plain)?;
        for (what, count) in [
            (
                "rows in the layout of older software, which are not sealed",
                self.counts.older,
            ),
            ("rows that can't be told", self.counts.unknown),
            ("rows whose key is missing here", self.counts.key_missing),
            ("rows that can't be read", self.counts.unreadable),
            ("rows that kept changing", self.counts.unsettled),
        ] {
            if count > 0 {
                writeln!(f, "{what}: {count}")?;
            }
        }
        if self.done.resealed > 0 {
            writeln!(
                f,
                "sealed now: {} in {} passes",
                self.done.resealed, self.done.passes
            )?;
        }
        writeln!(f, "{}", advice::of(self))
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
