//! Finding answers that don't leave.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The answers that are leaving a connection, counted by the generation in which they began to leave.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    now: AtomicUsize,
    counts: [AtomicUsize; 3],
}

impl Leaving {
    /// Counts an answer that begins to leave, and returns its generation.
    pub fn begin(&self) -> usize {
        let generation = self.now.load(Ordering::Acquire);
        self.counts[generation].fetch_add(1, Ordering::AcqRel);
        generation
    }

    /// Takes note that an answer of `generation` has left, or was given up.
    pub fn end(&self, generation: usize) {
        self.counts[generation].fetch_sub(1, Ordering::AcqRel);
    }

    /// Begins the next generation. Returns whether an answer is still there that has been leaving for two
    /// generations.
    pub fn next_generation(&self) -> bool {
        let next = (self.now.load(Ordering::Acquire) + 1) % self.counts.len();
        self.now.store(next, Ordering::Release);
        self.counts[next].load(Ordering::Acquire) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_stuck_when_it_has_been_leaving_for_two_generations() {
        let leaving = Leaving::default();
        let stuck = leaving.begin();
        assert!(!leaving.next_generation());
        leaving.end(leaving.begin());
        assert!(!leaving.next_generation());
        assert!(leaving.next_generation());
        leaving.end(stuck);
        for _ in 0..4 {
            assert!(!leaving.next_generation());
        }
    }
}
