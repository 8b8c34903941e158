//! Random choices that can be repeated: `CONFORMANCE_SEED=<seed>` repeats the choices of a failed
//! run. It doesn't repeat how the tasks interleave.

use std::{env, ops::Range, sync::OnceLock};

use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

/// A source of random choices.
pub struct Dice(SmallRng);

impl Dice {
    /// Returns the choices of a case. They are the same in each run with the same seed.
    pub fn new() -> Self {
        Self(SmallRng::seed_from_u64(seed()))
    }

    /// Returns the choices for a task, independent of all others.
    pub fn fork(&mut self) -> Self {
        Self(SmallRng::seed_from_u64(self.0.next_u64()))
    }

    pub fn in_range(&mut self, range: Range<usize>) -> usize {
        self.0.random_range(range)
    }

    /// Returns `true` once in so many times, on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.in_range(0..times) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.in_range(0..of.len())]
    }
}

/// Returns the seed of this run.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match env::var("CONFORMANCE_SEED") {
        Ok(seed) => seed.parse().expect("CONFORMANCE_SEED is a number"),
        Err(_) => rand::random(),
    })
}
