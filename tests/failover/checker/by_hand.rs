//! Short histories written by hand, with the expected result of each.

use std::{ops::Range, time::Duration};

use crate::history::{
    Fit, History, Losses, Misfit, Read, Switch, Value, Write, check, is_done_twice, losses,
};

const BOUND: u64 = 100;

/// A history with times in milliseconds.
#[derive(Clone, Default)]
struct Told(History);

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

impl Told {
    fn write(mut self, value: Value, span: Range<u64>, acknowledged: bool) -> Self {
        self.0.writes.push(Write {
            value,
            called: ms(span.start),
            returned: ms(span.end),
            acknowledged,
            note: String::new(),
        });
        self
    }

    fn stored(self, number: u64, span: Range<u64>) -> Self {
        self.write(Some(number), span, true)
    }

    fn deleted(self, span: Range<u64>) -> Self {
        self.write(None, span, true)
    }

    /// A store without an answer.
    fn maybe_stored(self, number: u64, span: Range<u64>) -> Self {
        self.write(Some(number), span, false)
    }

    fn maybe_deleted(self, span: Range<u64>) -> Self {
        self.write(None, span, false)
    }

    fn read(mut self, value: impl Into<Value>, span: Range<u64>) -> Self {
        self.0.reads.push(Read {
            value: value.into(),
            refresh: None,
            called: ms(span.start),
            returned: ms(span.end),
            note: String::new(),
        });
        self
    }

    fn switch(mut self, span: Range<u64>) -> Self {
        let (begun, seen) = (ms(span.start), ms(span.end));
        self.0.switches.push(Switch { begun, seen });
        self
    }

    fn check(&self) -> Result<Fit, Misfit> {
        check(&self.0, ms(BOUND))
    }

    fn fits(&self) {
        assert_eq!(self.check().unwrap(), Fit::default());
    }

    fn costs(&self, stale: usize, longest: u64, taken_back: usize) {
        let fit = Fit {
            stale,
            longest: ms(longest),
            taken_back,
        };
        assert_eq!(self.check().unwrap(), fit);
    }

    fn misfits(&self) {
        let checked = self.check();
        assert!(checked.is_err(), "{checked:?}");
    }

    /// Returns what is lost if the settled row shows this value.
    fn loses(mut self, value: Value) -> Losses {
        let settled = Self::default().read(value, 90_000..90_001);
        self.0.last = settled.0.reads;
        losses(&self.0)
    }
}

fn told() -> Told {
    Told::default()
}

#[test]
fn acknowledged_writes_take_effect_in_time() {
    let one = told().stored(1, 10..20);
    one.clone().read(None, 0..5).read(1, 30..40).fits();
    one.clone().read(None, 12..15).read(1, 13..15).fits();
    one.clone().read(None, 30..40).misfits();
    one.clone().read(1, 0..5).misfits();
    one.clone().read(1, 11..13).read(None, 14..19).misfits();
    let two = one.clone().stored(2, 30..40);
    two.clone().read(2, 31..50).read(1, 32..33).fits();
    two.clone().read(1, 41..50).misfits();
    let gone = one.deleted(30..40);
    gone.clone().read(None, 41..42).fits();
    gone.clone().read(1, 41..42).misfits();
    gone.stored(3, 50..60).read(None, 61..62).misfits();
}

#[test]
fn a_write_without_an_answer_takes_effect_late_or_never_or_once() {
    let maybe = told().stored(1, 10..20).maybe_stored(2, 30..40);
    maybe.clone().read(1, 500..510).fits();
    maybe.clone().read(1, 500..510).read(2, 600..610).fits();
    maybe.clone().read(2, 25..29).misfits();
    let over = maybe.stored(3, 50..60);
    over.clone().read(3, 61..62).read(2, 63..64).fits();
    over.clone().read(2, 61..62).read(3, 63..64).misfits();
    over.clone()
        .read(2, 45..46)
        .read(3, 61..62)
        .read(2, 63..64)
        .misfits();
    // An acknowledged write between the two must have taken effect before it returned.
    told()
        .maybe_stored(1, 0..5)
        .stored(2, 10..20)
        .read(1, 12..18)
        .read(1, 30..40)
        .fits();
    let deletes = told().stored(1, 0..5).maybe_deleted(6..9);
    deletes.clone().stored(2, 10..20).read(None, 21..22).fits();
    deletes
        .maybe_deleted(9..10)
        .read(None, 10..11)
        .stored(2, 12..20)
        .read(None, 21..22)
        .fits();
}

#[test]
fn a_read_that_overlaps_tells_the_order() {
    // The long read needs a value that the short read has seen overwritten.
    told()
        .maybe_stored(1, 0..5)
        .maybe_stored(2, 0..5)
        .read(1, 10..50)
        .read(2, 20..30)
        .fits();
    // If an acknowledged write and one without an answer overlap, either may be the later one.
    let both = told().maybe_stored(1, 0..5).stored(2, 10..50);
    both.clone().read(1, 12..14).read(2, 60..70).fits();
    both.clone().read(2, 12..14).read(1, 60..70).fits();
    both.read(1, 60..70).read(2, 80..90).misfits();
}

#[test]
fn a_switch_takes_back_what_was_not_acknowledged() {
    let seen = told()
        .stored(1, 0..5)
        .maybe_stored(2, 10..15)
        .read(2, 16..17);
    seen.clone().read(1, 40..41).misfits();
    let switched = seen.switch(12..30);
    switched.clone().read(2, 140..141).fits();
    switched.clone().read(1, 140..141).costs(0, 0, 1);
    switched.clone().read(None, 140..141).misfits();
    // A value is taken back once, not again and again. But a write that was taken back may have
    // been sent twice.
    let back = switched.read(1, 140..141);
    back.clone().read(2, 142..143).costs(0, 0, 1);
    back.read(2, 142..143).read(1, 144..145).misfits();
    let two = told()
        .stored(1, 0..5)
        .maybe_stored(2, 10..11)
        .read(2, 12..13)
        .maybe_stored(3, 14..15)
        .read(3, 16..17)
        .switch(9..30);
    two.clone().read(2, 140..141).fits();
    two.read(1, 140..141).costs(0, 0, 2);
    // The same for a deletion.
    told()
        .stored(1, 0..5)
        .maybe_deleted(10..11)
        .read(None, 12..13)
        .switch(9..30)
        .read(1, 140..141)
        .costs(0, 0, 1);
}

#[test]
fn a_switch_takes_back_nothing_acknowledged() {
    let stored = told().stored(1, 0..5).stored(2, 10..15).switch(12..30);
    stored.clone().read(2, 140..141).fits();
    stored.clone().read(1, 140..141).misfits();
    let deleted = told().stored(1, 0..5).deleted(10..15).switch(12..30);
    deleted.clone().read(1, 140..141).misfits();
    // All writes before an acknowledged write are safe too.
    told()
        .maybe_stored(1, 0..5)
        .read(1, 6..7)
        .stored(2, 10..15)
        .switch(12..30)
        .read(None, 140..141)
        .misfits();
    // The new primary acknowledged it, but it was seen on the old one before.
    told()
        .stored(1, 0..5)
        .stored(2, 10..60)
        .switch(12..30)
        .read(2, 13..14)
        .read(1, 20..40)
        .read(2, 61..62)
        .costs(0, 0, 1);
    // It took effect on the new primary after all.
    told()
        .stored(1, 0..5)
        .stored(2, 10..60)
        .switch(12..30)
        .read(2, 13..14)
        .read(1, 20..40)
        .read(1, 61..62)
        .costs(1, 31, 1);
}

#[test]
fn a_stale_read_is_counted_within_the_bound_only() {
    let stale = |span: Range<u64>| {
        told()
            .stored(1, 0..5)
            .switch(10..30)
            .stored(2, 35..40)
            .read(1, span)
            .read(2, 900..910)
    };
    stale(50..52).costs(1, 20, 0);
    stale(130..140).costs(1, 100, 0);
    stale(131..140).misfits();
    // The smallest number: one read of a value that only the old primary had. The reads of the new
    // primary around it don't count.
    told()
        .stored(1, 0..5)
        .maybe_stored(2, 10..15)
        .switch(9..30)
        .read(1, 40..41)
        .read(2, 50..51)
        .read(1, 60..61)
        .read(1, 900..910)
        .costs(1, 20, 0);
    // No read before the fault is stale.
    told()
        .stored(1, 0..5)
        .read(None, 6..8)
        .switch(10..30)
        .misfits();
}

#[test]
fn each_planted_fault_is_named() {
    let row = told().stored(1, 0..5).switch(10..30);
    let lost = row.clone().stored(2, 12..15);
    assert_eq!(lost.clone().loses(Some(2)), Losses::default());
    assert_eq!(lost.clone().loses(Some(1)), Losses { lost: 1, undone: 0 });
    assert_eq!(lost.loses(None), Losses { lost: 2, undone: 0 });
    // This includes a deletion of all rows of a user that misses this one.
    let undone = row.clone().deleted(12..15);
    assert_eq!(undone.clone().loses(None), Losses::default());
    assert_eq!(undone.loses(Some(1)), Losses { lost: 0, undone: 1 });
    let both = row.clone().deleted(12..15).stored(2, 16..18);
    assert_eq!(both.loses(Some(1)), Losses { lost: 1, undone: 1 });
    // Nothing is lost if a write without an answer explains the value.
    let late = row.maybe_stored(3, 12..15).stored(2, 16..18);
    assert_eq!(late.clone().loses(Some(3)), Losses::default());
    assert_eq!(late.loses(None), Losses { lost: 2, undone: 0 });
}

#[test]
fn an_explanation_can_be_read() {
    let misfit = told()
        .stored(1, 0..5)
        .switch(10..30)
        .deleted(40..50)
        .read(1, 600..601)
        .check()
        .unwrap_err();
    let Misfit(text) = misfit;
    for part in [
        "at 601.0 ms",
        "may have held: nothing\n",
        "0.0..5.0 write #1",
        "10.0 fault",
        "30.0 switch",
        "600.0..601.0 read #1:   <== doesn't fit",
    ] {
        assert!(text.contains(part), "{part:?} isn't in:\n{text}");
    }
}

/// Writes with an even number carry a refresh token forward.
#[test]
fn a_refresh_token_that_was_replaced_or_deleted_does_not_come_back() {
    let read = |told: Told, refresh: u64| {
        let mut told = told.read(4, 70..71);
        told.0.reads[0].refresh = Some(refresh);
        told
    };
    let one = told().stored(1, 10..20);
    read(one.clone().stored(4, 60..65), 1).fits();
    read(one.clone().maybe_stored(4, 60..65), 1).fits();
    read(one.clone().stored(2, 30..40).stored(4, 60..65), 1).fits();
    read(one.clone().deleted(30..63).stored(4, 60..65), 1).fits();
    read(one.clone().maybe_deleted(30..40).stored(4, 60..65), 1).fits();
    read(one.clone().deleted(30..40).stored(4, 60..65), 1).misfits();
    read(one.clone().stored(3, 30..40).stored(4, 60..65), 1).misfits();
    read(one.clone().stored(4, 60..65), 3).misfits();
    let switched = one.deleted(30..40).switch(45..50);
    assert!(carried_fits(&read(switched.stored(4, 60..65), 1)));
}

/// Returns whether the history fits but for what a switch took back.
fn carried_fits(told: &Told) -> bool {
    !is_done_twice(&told.0, ms(BOUND))
}
