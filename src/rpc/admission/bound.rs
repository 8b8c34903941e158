//! A count that can't exceed its bound.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// A count of what is in use, which never exceeds a maximum. Taking from it never waits.
#[derive(Debug)]
pub(super) struct Bound {
    used: AtomicUsize,
    most: usize,
    free: Notify,
}

impl Bound {
    /// Returns a count with nothing in use.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            most,
            free: Notify::new(),
        })
    }

    /// Takes `amount`, or returns `None` if that would exceed the maximum.
    pub fn take(self: &Arc<Self>, amount: usize) -> Option<Taken> {
        let mut taken = Taken {
            of: Arc::clone(self),
            amount: 0,
        };
        taken.grow(amount).then_some(taken)
    }

    /// Returns how much is in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Returns the maximum.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Returns how much can still be taken.
    pub fn free(&self) -> usize {
        self.most - self.used()
    }

    /// Waits until nothing is in use.
    pub async fn unused(&self) {
        loop {
            let free = self.free.notified();
            if self.used() == 0 {
                return;
            }
            free.await;
        }
    }
}

/// A part of a [`Bound`], which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    of: Arc<Bound>,
    amount: usize,
}

impl Taken {
    /// Makes the part larger, and returns whether that was possible.
    pub fn grow(&mut self, more: usize) -> bool {
        let most = self.of.most;
        let grown = |used: usize| used.checked_add(more).filter(|used| *used <= most);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let fits = self.of.used.fetch_update(set, fetch, grown).is_ok();
        if fits {
            self.amount += more;
        }
        fits
    }

    /// Makes the part smaller, unless it is small enough already.
    pub fn shrink(&mut self, amount: usize) {
        let surplus = self.amount.saturating_sub(amount);
        if surplus == 0 {
            return;
        }
        self.amount -= surplus;
        if self.of.used.fetch_sub(surplus, Ordering::AcqRel) == surplus {
            self.of.free.notify_waiters();
        }
    }

    /// Returns the size of the part.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Returns what the part belongs to.
    pub fn whole(&self) -> &Bound {
        &self.of
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let bound = Bound::new(10);
        let mut most = bound.take(8).unwrap();
        assert!(bound.take(3).is_none());
        assert!(!most.grow(3));
        assert!(most.grow(2));
        most.shrink(1);
        assert_eq!((bound.used(), most.amount()), (1, 1));
        let rest = bound.take(9).unwrap();
        drop(most);
        assert_eq!(bound.used(), 9);
        drop(rest);
        assert_eq!(bound.used(), 0);
    }

    #[test]
    fn who_waits_learns_when_all_is_given_back() {
        let bound = Bound::new(2);
        let taken = bound.take(1).unwrap();
        let mut unused = Box::pin(bound.unused());
        assert!(unused.as_mut().now_or_never().is_none());
        drop(taken);
        assert!(unused.now_or_never().is_some());
    }
}
