//! How large the next answer of a connection is expected to be.

use std::sync::atomic::{AtomicUsize, Ordering};

/// To read so many bytes takes milliseconds of a core, and of Redis.
const HUGE: usize = 512 * 1024;

/// What stands for the size of an answer before there was one.
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

/// The size of the answers that a connection's large reads had lately. A client that read much once is
/// expected to do so again for a while.
#[derive(Debug)]
pub(super) struct Expected(AtomicUsize);

impl Default for Expected {
    fn default() -> Self {
        Self(AtomicUsize::new(NONE))
    }
}

impl Expected {
    /// Takes note of the size of an answer.
    pub fn note(&self, answer: usize) {
        let before = match self.0.load(Ordering::Relaxed) {
            NONE => 0,
            known => known,
        };
        self.0
            .store(answer.max(before - before / 8), Ordering::Relaxed);
    }

    /// Returns how large the next answer is expected to be.
    pub fn size(&self) -> Size {
        match self.0.load(Ordering::Relaxed) {
            NONE => Size::Unknown,
            ..=HUGE => Size::Usual,
            _ => Size::Huge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_is_remembered_for_a_while() {
        let expected = Expected::default();
        assert_eq!(expected.size(), Size::Unknown);
        expected.note(1_000);
        assert_eq!(expected.size(), Size::Usual);
        expected.note(4 * 1024 * 1024);
        expected.note(1_000);
        assert_eq!(expected.size(), Size::Huge);
        for _ in 0..30 {
            expected.note(1_000);
        }
        assert_eq!(expected.size(), Size::Usual);
    }
}
