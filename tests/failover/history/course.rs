//! One course that things may have taken.

use std::collections::BTreeSet;

use super::{Value, Verdict, Write};

/// What the row has been through, as far as it matters for what can still happen to it. Writes and
/// reads are known by their places in the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Course {
    /// What the row held right after the last write that is acknowledged: no switch goes behind that.
    base: Value,
    /// What the row holds.
    now: Value,
    /// The writes since `base` whose acknowledgement is still to come, in order.
    pending: Vec<usize>,
    /// Those before `base`.
    safe: BTreeSet<usize>,
    /// The reads under way that have met their value.
    met: BTreeSet<usize>,
    /// Whether the switch that is under way has had its instant.
    switched: bool,
}

/// What a course asks to be believed.
#[derive(Clone, Debug, Default)]
pub(super) struct Price {
    pub(super) verdict: Verdict,
    /// All writes since the base, in order, and how many reads met each.
    since: Vec<(usize, usize)>,
}

impl Course {
    /// What the row holds.
    pub(super) fn value(&self) -> Value {
        self.now
    }

    /// Whether a write that will be acknowledged has been done.
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

    /// A read under way finds its value in the row.
    pub(super) fn meet(&mut self, read: usize, price: &mut Price) {
        if self.met.insert(read)
            && let Some((_, meetings)) = price.since.last_mut()
        {
            *meetings += 1;
        }
    }

    /// A write takes effect.
    pub(super) fn write(&mut self, at: usize, write: &Write, price: &mut Price) {
        self.now = write.value;
        price.since.push((at, 0));
        if write.acknowledged {
            self.pending.push(at);
        }
    }

    /// The courses after the switch's instant, if it may have one now. It leaves some of the writes
    /// since the base, or none.
    pub(super) fn switch(&self, price: &Price, writes: &[Write]) -> Vec<(Self, Price)> {
        let lefts = 0..if self.switched { 0 } else { price.since.len() };
        let switched = lefts.map(|left| {
            let (mut course, mut price) = (self.clone(), price.clone());
            let taken: Vec<_> = price.since.drain(left..).collect();
            price.verdict.taken_back += taken.iter().map(|(_, meetings)| meetings).sum::<usize>();
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

    /// The next switch is another one.
    pub(super) fn end_switch(&mut self) {
        self.switched = false;
    }

    /// A write that has been done is acknowledged: it stays, and so does all that came before it.
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
