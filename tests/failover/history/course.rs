//! One possible course of events.

use std::collections::BTreeSet;

use super::{Fit, Value, Write};

/// The past of the row, as far as it matters for what can still happen. Writes and reads are
/// identified by their indexes in the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Course {
    /// The value right after the last acknowledged write. No switch takes the row back beyond it.
    base: Value,
    /// What the row holds.
    now: Value,
    /// The writes since `base` that will be acknowledged, in order.
    pending: Vec<usize>,
    /// The writes before them.
    safe: BTreeSet<usize>,
    /// The pending reads that have seen their value.
    met: BTreeSet<usize>,
    /// Whether the pending switch has taken place.
    switched: bool,
}

/// The cost of a course: what has to be assumed.
#[derive(Clone, Debug, Default)]
pub(super) struct Price {
    pub(super) fit: Fit,
    /// All writes since the base, in order, each with the number of reads that saw its value.
    since: Vec<(usize, usize)>,
}

impl Course {
    /// What the row holds.
    pub(super) fn value(&self) -> Value {
        self.now
    }

    /// Returns whether a write that will be acknowledged has been done.
    pub(super) fn has_done(&self, write: usize) -> bool {
        self.safe.contains(&write) || self.pending.contains(&write)
    }

    pub(super) fn has_met(&self, read: usize) -> bool {
        self.met.contains(&read)
    }

    /// Forgets a read that has returned.
    pub(super) fn forget(&mut self, read: usize) {
        self.met.remove(&read);
    }

    /// Notes that a pending read has seen its value.
    pub(super) fn meet(&mut self, read: usize, price: &mut Price) {
        if self.met.insert(read)
            && let Some((_, meetings)) = price.since.last_mut()
        {
            *meetings += 1;
        }
    }

    /// Applies a write.
    pub(super) fn write(&mut self, at: usize, write: &Write, price: &mut Price) {
        self.now = write.value;
        price.since.push((at, 0));
        if write.acknowledged {
            self.pending.push(at);
        }
    }

    /// Returns the courses after the switch, if it may take place now. It keeps a prefix of the
    /// writes since the base, which may be empty.
    pub(super) fn switch(&self, price: &Price, writes: &[Write]) -> Vec<(Self, Price)> {
        let lefts = 0..if self.switched { 0 } else { price.since.len() };
        let switched = lefts.map(|left| {
            let (mut course, mut price) = (self.clone(), price.clone());
            let taken: Vec<_> = price.since.drain(left..).collect();
            price.fit.taken_back += taken.iter().map(|(_, meetings)| meetings).sum::<usize>();
            course
                .pending
                .retain(|at| taken.iter().all(|(gone, _)| gone != at));
            let last = price.since.last();
            course.now = last.map_or(self.base, |(at, _)| writes[*at].value);
            course.switched = true;
            (course, price)
        });
        switched.collect()
    }

    /// Makes room for the next switch.
    pub(super) fn end_switch(&mut self) {
        self.switched = false;
    }

    /// Acknowledges a write that has been done. From now on, this write and all writes before it
    /// can't be taken back.
    pub(super) fn acknowledge(&mut self, write: usize, writes: &[Write], price: &mut Price) {
        if let Some(place) = self.pending.iter().position(|at| *at == write) {
            self.safe.extend(self.pending.drain(..=place));
            let place = price.since.iter().position(|(at, _)| *at == write);
            price
                .since
                .drain(..=place.expect("what is pending is since the base"));
            self.base = writes[write].value;
        }
        self.safe.remove(&write);
    }
}
