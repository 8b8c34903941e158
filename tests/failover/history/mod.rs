//! The history of one row while its primary changed, as its callers saw it. The checker decides whether a row that
//! loses no acknowledged write could have given these answers.
//!
//! A history has writes, reads and switches. The checker ([`check`]) looks for an order of all writes in which
//!
//! - an acknowledged write takes effect between its call and its return, and is never taken back;
//! - a write without an answer (a deadline, a lost connection, `NOT_DURABLE`) takes effect at any
//!   time after its call, or never, but not twice ([`twice`]);
//! - each switch takes place at one instant between the beginning of the fault and the sentinels'
//!   report of the new primary. At this instant writes that were not acknowledged may be taken back,
//!   the latest first: the new primary has a prefix of the old primary's writes, which includes all
//!   acknowledged ones;
//! - each read sees the row as it was at some instant between its call and its return. If the row was written with a
//!   refresh token that was carried forward, that token was still the row's ([`carried`]).
//!
//! A demoted primary may have answered a read that was called no later than the documented bound after a switch. If
//! such a read doesn't fit, the checker counts it, with its time since the switch. If any other read doesn't fit,
//! the history is a [`Misfit`].
//!
//! The checker of [`testkit::linearizability`] knows no switches. Its shortcut, that a version that is gone never comes
//! back, doesn't hold here.

mod carried;
mod check;
mod course;
mod explain;
mod losses;
mod twice;

use std::time::Duration;

pub(crate) use check::{check, is_done_twice};
pub(crate) use losses::{Losses, losses};

/// The value of a row: the number of the write that it shows, or no row.
pub(crate) type Value = Option<u64>;

/// A write or a delete of the row, or of all rows of its user.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// The value of the row after the write.
    pub(crate) value: Value,
    pub(crate) called: Duration,
    pub(crate) returned: Duration,
    /// Whether the answer was OK. A write that was certainly refused isn't part of a history.
    pub(crate) acknowledged: bool,
    /// The call and its answer, for an explanation.
    pub(crate) note: String,
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) value: Value,
    /// The number of the write that brought the row's refresh token.
    pub(crate) refresh: Option<u64>,
    pub(crate) called: Duration,
    pub(crate) returned: Duration,
    /// The broker that was asked, for an explanation.
    pub(crate) note: String,
}

/// A change of the primary, from the fault to the first sentinel's `+switch-master`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch {
    pub(crate) begun: Duration,
    pub(crate) seen: Duration,
}

/// Everything that happened to one row. At the start there is no row.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) row: String,
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read>,
    /// The switches, in order. They don't overlap.
    pub(crate) switches: Vec<Switch>,
    /// The reads once everything had settled. Every acknowledged write must have reached them.
    pub(crate) last: Vec<Read>,
}

/// The figures of a history that fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fit {
    /// The smallest number of reads that must have been answered by the demoted primary to explain the rest.
    pub(crate) stale: usize,
    /// The longest time from a switch to the call of such a read.
    pub(crate) longest: Duration,
    /// The number of reads of values that were taken back afterwards. None of these values was acknowledged before
    /// or after the read.
    pub(crate) taken_back: usize,
}

impl Fit {
    /// Adds the figures of another history.
    pub(crate) fn add(&mut self, other: Self) {
        self.stale += other.stale;
        self.longest = self.longest.max(other.longest);
        self.taken_back += other.taken_back;
    }
}

/// A history that doesn't fit: how far it fits, and an explanation for a person.
#[derive(Clone, Debug)]
pub(crate) struct Misfit(pub(crate) String);
