//! One caller's share of the trail: of the places for events, and of the denials that have events of their own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::crowd::Turnstile;

/// So many times as many places a caller may have as are left for others.
const FOR_ONE: usize = 3;

/// What somebody has of the trail's places. It has no bound of its own, and leaves a part to others: a caller three times as
/// much as it leaves, and one of several tenants as much.
#[derive(Debug, Default)]
pub struct TrailShare {
    held: AtomicUsize,
    /// That of the caller's tenant, if there are several.
    tenant: Option<Arc<TrailShare>>,
    /// The denials that have had events of their own.
    pub(super) denials: Turnstile,
}

impl TrailShare {
    /// Returns the share of a caller, whose tenant has another one if there are several.
    #[must_use]
    pub fn of_caller(tenant: Option<Arc<TrailShare>>) -> Arc<Self> {
        Arc::new(Self {
            tenant,
            ..Self::default()
        })
    }

    /// Takes a place, of which `left` are left for all others then. Returns whether that is fair: who has none is never kept
    /// from one.
    pub(super) fn take(&self, left: usize) -> bool {
        let mut left = left;
        if let Some(tenant) = &self.tenant {
            let own = tenant.held.fetch_add(1, Ordering::AcqRel);
            if own > 0 && own >= left {
                tenant.held.fetch_sub(1, Ordering::AcqRel);
                return false;
            }
            // What its tenant can still have if all others keep what they have.
            left = left.saturating_sub(own).div_ceil(2);
        }
        let own = self.held.fetch_add(1, Ordering::AcqRel);
        let is_fair = own == 0 || own < left.saturating_mul(FOR_ONE);
        if !is_fair {
            self.give_back();
        }
        is_fair
    }

    pub(super) fn give_back(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
        if let Some(tenant) = &self.tenant {
            tenant.held.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many of the places as it can, of which `free` are left, and returns how many these are.
    fn flood(share: &TrailShare, free: &mut usize) -> usize {
        let before = *free;
        while let Some(left) = free.checked_sub(1)
            && share.take(left)
        {
            *free = left;
        }
        before - *free
    }

    #[test]
    fn a_caller_leaves_places_for_the_events_of_others() {
        let mut free = 1_024;
        let [first, second] = [(); 2].map(|()| TrailShare::of_caller(None));
        assert_eq!(flood(&first, &mut free), 768);
        assert_eq!(flood(&second, &mut free), 192);
        // What it gives back goes to the others first.
        for _ in 0..100 {
            first.give_back();
            free += 1;
        }
        assert!(!first.take(free - 1));
        assert!(second.take(free - 1));
    }

    #[test]
    fn a_tenant_leaves_places_whatever_number_of_callers_it_has() {
        let mut free = 1_024;
        let tenants = [(); 2].map(|()| Arc::<TrailShare>::default());
        let [greedy, other] = tenants;
        for _ in 0..10 {
            flood(&TrailShare::of_caller(Some(Arc::clone(&greedy))), &mut free);
        }
        assert!((500..=524).contains(&free), "{free}");
        let caller = TrailShare::of_caller(Some(other));
        assert!(flood(&caller, &mut free) > 150);
    }

    #[test]
    fn who_has_no_place_gets_the_last_one() {
        let tenant = Arc::<TrailShare>::default();
        assert!(TrailShare::of_caller(Some(tenant)).take(0));
        let caller = TrailShare::of_caller(None);
        assert!(caller.take(0) && !caller.take(0));
    }
}
