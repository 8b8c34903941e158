//! The refusals of callers whom nobody knows. Who can reach the port can cause any number of them, and must not push the events
//! of callers out of the files: a few have events of their own, and the others are counted in one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// For so long refusals are counted together.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// So many of them have events of their own.
pub(super) const SINGLE: u32 = 10;

/// Decides which refusals have events of their own. All destinations have the same ones.
#[derive(Debug, Default)]
pub(super) struct Turnstile(Mutex<Option<Passed>>);

#[derive(Debug)]
struct Passed {
    began: Instant,
    count: u32,
}

/// The refusals that have no events of their own, for one destination.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Option<Counted>>);

#[derive(Debug)]
struct Counted {
    began: Instant,
    crowd: Refusals,
}

/// Refusals of callers whom nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusals {
    /// When the first of them was.
    pub since: SystemTime,
    /// How many there were, by RPC and reason.
    pub counts: BTreeMap<(&'static str, &'static str), u64>,
}

impl Turnstile {
    /// Whether a refusal that happens now has an event of its own.
    pub fn passes(&self, now: Instant) -> bool {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = match &mut *passed {
            Some(passed) if now.duration_since(passed.began) < WINDOW => passed,
            other => other.insert(Passed {
                began: now,
                count: 0,
            }),
        };
        passed.count = passed.count.saturating_add(1);
        passed.count <= SINGLE
    }
}

impl Crowd {
    /// Counts a refusal that happens now.
    pub fn count(&self, rpc: &'static str, reason: &'static str, now: Instant) {
        let mut counted = self.counted();
        let counted = counted.get_or_insert_with(|| Counted {
            began: now,
            crowd: Refusals {
                since: SystemTime::now(),
                counts: BTreeMap::new(),
            },
        });
        *counted.crowd.counts.entry((rpc, reason)).or_default() += 1;
    }

    /// Returns what was counted, if the first of it was long ago.
    pub fn take_due(&self, now: Instant) -> Option<Refusals> {
        let counted = self
            .counted()
            .take_if(|counted| now.duration_since(counted.began) >= WINDOW);
        counted.map(|counted| counted.crowd)
    }

    /// Returns what was counted.
    pub fn take(&self) -> Option<Refusals> {
        self.counted().take().map(|counted| counted.crowd)
    }

    fn counted(&self) -> MutexGuard<'_, Option<Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusals {
    /// Returns how many there were.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_window_pass() {
        let (turnstile, began) = (Turnstile::default(), Instant::now());
        for window in 0..3 {
            let now = began + window * WINDOW;
            let passed = (0..1_000).filter(|_| turnstile.passes(now)).count();
            assert_eq!(passed, SINGLE as usize);
            assert!(!turnstile.passes(now + WINDOW - Duration::from_millis(1)));
        }
    }

    #[test]
    fn the_others_are_counted_until_they_are_due() {
        let (crowd, began) = (Crowd::default(), Instant::now());
        for (rpc, reason) in [("a", "x"), ("a", "y"), ("a", "x"), ("b", "x")] {
            crowd.count(rpc, reason, began);
        }
        assert_eq!(crowd.take_due(began), None);
        let refusals = crowd.take_due(began + WINDOW).unwrap();
        let counts = [(("a", "x"), 2), (("a", "y"), 1), (("b", "x"), 1)];
        assert_eq!(refusals.counts, counts.into());
        assert_eq!(refusals.total(), 4);
        assert_eq!(crowd.take(), None);
    }
}
