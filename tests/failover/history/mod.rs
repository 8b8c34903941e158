//! What callers saw happen to one row while its primary changed, and whether one row that loses
//! nothing acknowledged could have answered so.
//!
//! A history has writes, reads and switches. The checker ([`check`]) asks whether there is an order
//! of all writes in which
//!
//! - an acknowledged write takes effect between its call and its return, and is never taken back;
//! - a write without an answer (a deadline, a lost connection, `NOT_DURABLE`) takes effect at any
//!   time after its call, or never; but not twice ([`twice`]);
//! - each switch has one instant between the beginning of the fault and the sentinels' word of the
//!   new primary, at which writes that were not acknowledged may be taken back, the latest first (the
//!   new primary has a beginning of what the old one had, with all that was acknowledged in it);
//! - each read sees the row as it was at some instant between its call and its return.
//!
//! A read that was called no later than the documented bound after a switch may have been answered
//! by the demoted primary: where it doesn't fit it is counted, with its time since the switch. Any other
//! that doesn't fit is a [`Misfit`].
//!
//! The checker of [`testkit::linearizability`] knows neither writes without an answer nor
//! switches, and its short cut, that a version that is gone never comes back, doesn't hold here.

mod check;
mod course;
mod explain;
mod losses;
mod twice;

use std::time::Duration;

pub(crate) use check::check;
pub(crate) use losses::{Losses, losses};

/// What a row holds: the number of the write that it shows, or no row.
pub(crate) type Value = Option<u64>;

/// A write or a delete of the row, or of all rows of its user.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// What the row holds afterwards.
    pub(crate) value: Value,
    pub(crate) called: Duration,
    pub(crate) returned: Duration,
    /// Whether it was answered OK. One that was surely refused is no part of a history.
    pub(crate) acknowledged: bool,
    /// The call and its answer, for those who read an explanation.
    pub(crate) note: String,
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) value: Value,
    pub(crate) called: Duration,
    pub(crate) returned: Duration,
    /// Whom it asked, for those who read an explanation.
    pub(crate) note: String,
}

/// A change of primaries: from the fault to the first sentinel's `+switch-master`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch {
    pub(crate) begun: Duration,
    pub(crate) seen: Duration,
}

/// All that happened to one row. It begins without a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) row: String,
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read>,
    /// One after another.
    pub(crate) switches: Vec<Switch>,
    /// Reads when all had settled, which every acknowledged write must have reached.
    pub(crate) last: Vec<Read>,
}

/// What a history that fits shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Verdict {
    /// Reads that fit only as reads of the demoted primary: the fewest that explain the rest.
    pub(crate) stale: usize,
    /// The longest time from a switch to the call of such a read.
    pub(crate) longest: Duration,
    /// Reads of what was taken back afterwards: not acknowledged when it was read, nor later.
    pub(crate) taken_back: usize,
}

impl Verdict {
    /// Adds what another history shows.
    pub(crate) fn add(&mut self, other: Self) {
        self.stale += other.stale;
        self.longest = self.longest.max(other.longest);
        self.taken_back += other.taken_back;
    }
}

/// A history that doesn't fit: where it stops to, and why, to be read.
#[derive(Clone, Debug)]
pub(crate) struct Misfit(pub(crate) String);
