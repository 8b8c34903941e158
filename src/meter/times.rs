//! How long things took, as a histogram.

use std::{array, time::Duration};

use super::Count;

/// The upper bounds of the buckets, in microseconds. There is one more bucket for what took longer.
///
/// A read takes less than a millisecond, a refresh as long as the provider takes, and no call longer than its timeout.
pub const BOUNDS: [u64; 16] = [
    250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 125_000, 250_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Times {
    buckets: [Count; BOUNDS.len() + 1],
    micros: Count,
}

/// What [`Times`] held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many fell into each bucket: those that took at most as long as its bound in [`BOUNDS`], and longer than the
    /// bound before it. The last one has no bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// How long all of them took.
    pub took: Duration,
}

impl Times {
    /// Takes note that something took so long.
    pub fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].up();
        self.micros.add(micros);
    }

    /// Returns how many were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum()
    }

    /// Returns what was noted until now.
    #[must_use]
    pub fn get(&self) -> Distribution {
        Distribution {
            buckets: array::from_fn(|at| self.buckets[at].get()),
            took: Duration::from_micros(self.micros.get()),
        }
    }
}

impl Distribution {
    /// Returns how many were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let times = Times::default();
        for micros in [0, 250, 251, 10_000_000, 10_000_001] {
            times.note(Duration::from_micros(micros));
        }
        let found = times.get();
        assert_eq!((found.buckets[0], found.buckets[1]), (2, 1));
        assert_eq!((found.buckets[15], found.buckets[16]), (1, 1));
        assert_eq!((found.count(), times.count()), (5, 5));
        assert_eq!(found.took, Duration::from_micros(20_000_502));
    }

    #[test]
    fn the_bounds_grow() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }
}
