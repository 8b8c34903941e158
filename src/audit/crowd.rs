//! The denials that have no events of their own. Who can reach the port, or has a caller's credentials, can cause any number of
//! them, and must not push the events of others out of the files: a few have events of their own, and the others are counted in
//! one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use crate::types::{Tenant, lock};

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

/// The denials that have no events of their own, for one destination: those of each caller, and those of callers whom nobody
/// knows. Callers are those of the policy, so that there are no more than it names.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<BTreeMap<Option<Known>, Counted>>);

#[derive(Debug)]
struct Counted {
    began: Instant,
    since: SystemTime,
    counts: Counts,
}

/// How many there were, by RPC and reason.
pub(super) type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// A caller of the policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// Its tenant.
    pub tenant: Arc<Tenant>,
    /// Its name.
    pub caller: String,
}

/// Denials of one caller, or of those whom nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusals {
    /// The caller, if it is known.
    pub of: Option<Known>,
    /// When the first of them was.
    pub since: SystemTime,
    pub counts: Counts,
}

impl Turnstile {
    /// Whether a refusal that happens now has an event of its own.
    pub fn passes(&self, now: Instant) -> bool {
        let mut passed = lock(&self.0);
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
    /// Counts a denial that happens now.
    pub fn count(&self, of: Option<&Known>, what: (&'static str, &'static str), now: Instant) {
        let mut counted = self.counted();
        let counted = counted.entry(of.cloned()).or_insert_with(|| Counted {
            began: now,
            since: SystemTime::now(),
            counts: Counts::new(),
        });
        *counted.counts.entry(what).or_default() += 1;
    }

    /// Returns what was counted of those whose first denial was long ago.
    pub fn take_due(&self, now: Instant) -> Vec<Refusals> {
        self.take_if(|counted| now.duration_since(counted.began) >= WINDOW)
    }

    /// Returns what was counted.
    pub fn take(&self) -> Vec<Refusals> {
        self.take_if(|_| true)
    }

    fn take_if(&self, is_taken: impl Fn(&Counted) -> bool) -> Vec<Refusals> {
        let mut counted = self.counted();
        let all = std::mem::take(&mut *counted).into_iter();
        let (taken, left): (Vec<_>, Vec<_>) = all.partition(|(_, counted)| is_taken(counted));
        counted.extend(left);
        let refusals = taken.into_iter();
        let refusals =
            refusals.map(|(of, Counted { since, counts, .. })| Refusals { of, since, counts });
        refusals.collect()
    }

    fn counted(&self) -> MutexGuard<'_, BTreeMap<Option<Known>, Counted>> {
        lock(&self.0)
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
        for what in [("a", "x"), ("a", "y"), ("a", "x"), ("b", "x")] {
            crowd.count(None, what, began);
        }
        assert_eq!(crowd.take_due(began), []);
        let [refusals] = &crowd.take_due(began + WINDOW)[..] else {
            panic!("nobody is known");
        };
        let counts = [(("a", "x"), 2), (("a", "y"), 1), (("b", "x"), 1)];
        assert_eq!(refusals.counts, counts.into());
        assert_eq!((refusals.of.as_ref(), refusals.total()), (None, 4));
        assert_eq!(crowd.take(), []);
    }

    #[test]
    fn each_caller_is_counted_by_itself() {
        let (crowd, began) = (Crowd::default(), Instant::now());
        let known = |caller: &str| Known {
            tenant: Arc::new("a:b".parse().unwrap()),
            caller: caller.to_owned(),
        };
        let later = began + WINDOW / 2;
        for (of, now) in [
            (known("one"), began),
            (known("two"), later),
            (known("one"), later),
        ] {
            crowd.count(Some(&of), ("a", "x"), now);
        }
        let due = crowd.take_due(began + WINDOW);
        let told: Vec<_> = due
            .iter()
            .map(|one| (one.of.clone(), one.total()))
            .collect();
        assert_eq!(told, [(Some(known("one")), 2)]);
        assert_eq!(crowd.take().len(), 1);
    }
}
