//! How large the next answer of a connection is expected to be.

use std::sync::atomic::{AtomicUsize, Ordering};

/// To read so many bytes takes milliseconds of a core, and of Redis.
const HUGE: usize = 512 * 1024;

/// The size of the answers that a connection's large reads had lately. A client that read much once is
/// expected to do so again for a while.
#[derive(Debug, Default)]
pub(super) struct Expected(AtomicUsize);

impl Expected {
    /// Takes note of the size of an answer.
    pub fn note(&self, answer: usize) {
        let before = self.0.load(Ordering::Relaxed);
        self.0
            .store(answer.max(before - before / 8), Ordering::Relaxed);
    }

    /// Whether the next answer is expected to be so large that it keeps others waiting.
    pub fn is_huge(&self) -> bool {
        self.0.load(Ordering::Relaxed) > HUGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_is_remembered_for_a_while() {
        let expected = Expected::default();
        assert!(!expected.is_huge());
        expected.note(4 * 1024 * 1024);
        expected.note(1_000);
        assert!(expected.is_huge());
        for _ in 0..30 {
            expected.note(1_000);
        }
        assert!(!expected.is_huge());
    }
}
