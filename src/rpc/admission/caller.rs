//! One caller's share of what the calls of its tenant may use.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    bound::{Bound, Taken},
    large_reads::LargeReads,
    pace::Pace,
    turns::Turns,
    waiting::{TenantsProvider, Waiting, WaitsFor},
};
use crate::{access::Caller, audit::TrailShare, error::Error};

/// So many times as much a caller may have as is left for all others of its tenant.
const FOR_ONE: usize = 3;
/// The same of places for calls that wait for providers. It is less than what
/// [one provider](super::waiting) may have of them, so that a caller can't take all places for it either.
const WAITING_FOR_ONE: usize = 2;

/// What the calls of one caller use, over all its connections. It has no bound of its own.
#[derive(Debug)]
pub struct CallerShare {
    /// Tells callers apart.
    pub(super) number: u64,
    pub(super) calls: Arc<Bound>,
    pub(super) bytes: Arc<Bound>,
    pub(super) waiting: Arc<Waiting>,
    /// When a thread works for them.
    pub(super) turns: Arc<Turns>,
    /// How fast they are refused.
    pub(super) pace: Pace,
    pub(super) trail: Arc<TrailShare>,
    /// As many places as its tenant has. Who wants more queues here, and so before the tenant's places only behind reads that
    /// go on already.
    pub(super) large_reads: LargeReads,
}

/// The shares of a tenant's callers, by the names that policies gave them. A share is never given up, so that a caller has
/// the same one whatever policy comes in force.
#[derive(Debug, Default)]
pub(super) struct CallerShares(RwLock<HashMap<String, Arc<CallerShare>>>);

impl CallerShare {
    /// Returns the share of one more caller of a tenant that has so many places.
    pub(super) fn new(
        waiting: usize,
        large_reads: LargeReads,
        trail: Arc<TrailShare>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            calls: Bound::new(usize::MAX),
            bytes: Bound::new(usize::MAX),
            waiting: Waiting::new(waiting),
            turns: Turns::new(1),
            pace: Pace::default(),
            trail,
            large_reads,
        })
    }

    /// Returns its share of the audit trail.
    #[must_use]
    pub fn trail(&self) -> &Arc<TrailShare> {
        &self.trail
    }

    /// Takes a place among the calls in flight, of which `free` are left for the caller's tenant.
    pub(super) fn place(&self, free: usize) -> Result<Taken, Error> {
        let is_fair = leaves_enough(self.calls.used(), 1, free, FOR_ONE);
        let place = is_fair.then(|| self.calls.take(1)).flatten();
        place.ok_or(Error::Overloaded)
    }

    /// Whether a call of the caller that holds `held` bytes may have `more`, of which `free` are left for the caller's
    /// tenant.
    pub(super) fn may_hold(&self, held: usize, more: usize, free: usize) -> bool {
        let others = self.bytes.used().saturating_sub(held);
        others == 0 || leaves_enough(self.bytes.used(), more, free, FOR_ONE)
    }

    /// Lets a call of the caller wait for a provider, for which `free` more may wait, and `tenant` has the places of the
    /// caller's tenant. `has_place`: the call waits for another one, too.
    pub(super) fn wait_for(
        &self,
        provider: &TenantsProvider,
        (free, tenant): (usize, &Waiting),
        has_place: bool,
    ) -> Option<WaitsFor> {
        let is_fair = |own, free| leaves_enough(own, 1, free, WAITING_FOR_ONE);
        let may_wait = is_fair(self.waiting.calls_for(provider), free)
            && (has_place || is_fair(self.waiting.calls.used(), tenant.calls.free()));
        may_wait
            .then(|| self.waiting.wait_for(provider, has_place))
            .flatten()
    }
}

/// Whether enough is left when a caller that has `own` takes `more` of what is `free`. A caller that has nothing may have
/// whatever there is: it is never kept from its part by this rule.
fn leaves_enough(own: usize, more: usize, free: usize, for_one: usize) -> bool {
    let left = free.saturating_sub(more);
    own == 0 || own.saturating_add(more) <= left.saturating_mul(for_one)
}

impl CallerShares {
    /// Returns the share of a caller, which `new` makes if it has none. Whoever calls without a policy has none: nobody else
    /// could be kept from anything.
    pub fn of(
        &self,
        caller: &Caller,
        new: impl FnOnce() -> Arc<CallerShare>,
    ) -> Option<Arc<CallerShare>> {
        if caller.name.is_empty() {
            return None;
        }
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = known.get(&caller.name) {
            return Some(Arc::clone(share));
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let share = known.entry(caller.name.clone()).or_insert_with(new);
        Some(Arc::clone(share))
    }
}
