//! How large the next answer of a connection is expected to be, and how much work it is.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::busy::{self, LEAST};

/// To read so many bytes takes milliseconds of a core, and of Redis.
const HUGE: usize = 512 * 1024;

/// What stands for the size of an answer, or the work for it, before there was one.
const NONE: usize = usize::MAX;

/// How large an answer is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// The connection had no such answer yet.
    Unknown,
    /// It doesn't keep others waiting.
    Usual,
    /// It keeps others waiting.
    Huge,
}

/// What the large reads of a connection were like lately. A client that read much once is expected to do so again for a
/// while.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// In bytes.
    answer: Lately,
    /// In nanoseconds.
    work: Lately,
}

/// The most of what there was lately.
#[derive(Debug)]
struct Lately(AtomicUsize);

impl Default for Lately {
    fn default() -> Self {
        Self(AtomicUsize::new(NONE))
    }
}

impl Lately {
    fn note(&self, next: usize) {
        let before = match self.0.load(Ordering::Relaxed) {
            NONE => 0,
            known => known,
        };
        let next = next.max(before - before / 8).min(NONE - 1);
        self.0.store(next, Ordering::Relaxed);
    }
}

impl Expected {
    /// Takes note of the size of an answer, and of the processor time that it took.
    pub fn note(&self, answer: usize, worked: Duration) {
        self.answer.note(answer);
        let worked = usize::try_from(worked.as_nanos()).unwrap_or(usize::MAX);
        self.work.note(worked);
    }

    /// Returns as how many calls the next read is expected to count.
    pub fn weight(&self) -> usize {
        match self.work.0.load(Ordering::Relaxed) {
            NONE => LEAST,
            nanos => busy::weight(Duration::from_nanos(nanos as u64)),
        }
    }

    /// Returns how large the next answer is expected to be.
    pub fn size(&self) -> Size {
        match self.answer.0.load(Ordering::Relaxed) {
            NONE => Size::Unknown,
            ..=HUGE => Size::Usual,
            _ => Size::Huge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn a_large_answer_is_remembered_for_a_while() {
        let expected = Expected::default();
        assert_eq!(expected.size(), Size::Unknown);
        expected.note(1_000, NO_TIME);
        assert_eq!(expected.size(), Size::Usual);
        expected.note(4 * 1024 * 1024, NO_TIME);
        expected.note(1_000, NO_TIME);
        assert_eq!(expected.size(), Size::Huge);
        for _ in 0..30 {
            expected.note(1_000, NO_TIME);
        }
        assert_eq!(expected.size(), Size::Usual);
    }

    #[test]
    fn much_work_weighs_for_a_while_and_unknown_work_as_much() {
        let expected = Expected::default();
        assert_eq!(expected.weight(), LEAST);
        expected.note(1, NO_TIME);
        assert_eq!(expected.weight(), 1);
        expected.note(1, Duration::from_millis(10));
        expected.note(1, NO_TIME);
        assert_eq!(expected.weight(), LEAST);
        for _ in 0..60 {
            expected.note(1, NO_TIME);
        }
        assert_eq!(expected.weight(), 1);
    }
}
