//! How large the next answer of a connection is expected to be.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{BYTES_OF_A_PLACE, LARGE_READS_OF_A_CONNECTION};

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

    /// Returns how many places the next large read takes.
    pub fn places(&self) -> usize {
        let places = self.0.load(Ordering::Relaxed) / BYTES_OF_A_PLACE;
        places.clamp(1, LARGE_READS_OF_A_CONNECTION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_is_remembered_for_a_while() {
        let expected = Expected::default();
        assert_eq!(expected.places(), 1);
        expected.note(4 * 1024 * 1024);
        assert_eq!(expected.places(), 8);
        expected.note(1_000);
        assert_eq!(expected.places(), 8);
        for _ in 0..30 {
            expected.note(1_000);
        }
        assert_eq!(expected.places(), 1);
    }
}
