//! Numbers that grow, and numbers that also fall.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Returns 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn up(&self) {
        self.add(1);
    }

    /// Adds so many.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Puts `now` into the place of `before`, one of the parts that the number is the sum of.
    pub fn change(&self, before: u64, now: u64) {
        self.0
            .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one, until what this returns is dropped.
    #[must_use]
    pub fn up(&self) -> Up<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Up(self)
    }
}

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Up<'g>(&'g Gauge);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_falls_when_one_of_those_it_counts_is_dropped() {
        let gauge = Gauge::default();
        let (one, other) = (gauge.up(), gauge.up());
        assert_eq!(gauge.get(), 2);
        drop(one);
        assert_eq!(gauge.get(), 1);
        drop(other);
        assert_eq!(gauge.get(), 0);
    }
}
