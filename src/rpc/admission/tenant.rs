//! One tenant's share of what calls may use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use super::{
    CallLimits, PART_THAT_WAITS,
    bound::Bound,
    caller::{CallerShare, CallerShares},
    large_reads::LargeReads,
    turns::Turns,
    waiting::Waiting,
};
use crate::{access::Caller, audit::TrailShare, error::Error};

/// For so many times as many calls of one of several tenants as of one caller a thread works at once.
const TURNS: usize = 2;

/// A tenant's share of what calls may use. Its data is migrated, or it isn't: until then its calls are refused.
#[derive(Debug)]
pub struct TenantShare {
    pub(super) number: TenantNumber,
    pub(super) calls: Arc<Bound>,
    pub(super) bytes: Arc<Bound>,
    pub(super) large_reads: LargeReads,
    pub(super) waiting: Arc<Waiting>,
    /// When a thread works for its calls, if there are other tenants.
    pub(super) turns: Arc<Turns>,
    /// Whether there are others, to whom this one has to leave something.
    pub(super) has_others: bool,
    callers: CallerShares,
    /// What its calls have of the audit trail, if there are other tenants.
    trail: Option<Arc<TrailShare>>,
    migrating: AtomicBool,
}

/// Tells the tenants of a process apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TenantNumber(u32);

impl TenantShare {
    /// Returns the share of one more tenant. It refuses all calls as [`Error::Migrating`] until [`TenantShare::open`].
    pub(super) fn new(limits: &CallLimits) -> Arc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (calls, bytes) = match limits.of_a_tenant {
            Some(own) => (own.calls, own.bytes),
            None => (limits.calls, limits.bytes),
        };
        let bytes = bytes.max(limits.largest);
        let has_others = limits.of_a_tenant.is_some();
        Arc::new(Self {
            number: TenantNumber(NEXT.fetch_add(1, Ordering::Relaxed)),
            calls: Bound::new(calls),
            bytes: Bound::new(bytes),
            large_reads: large_reads(has_others),
            waiting: Waiting::new(calls / PART_THAT_WAITS),
            turns: Turns::new(TURNS),
            has_others,
            callers: CallerShares::default(),
            trail: has_others.then(Arc::default),
            migrating: AtomicBool::new(true),
        })
    }

    /// Starts to admit calls.
    pub fn open(&self) {
        self.migrating.store(false, Ordering::Release);
    }

    /// Refuses all further calls as [`Error::Migrating`], until [`TenantShare::open`].
    pub fn close(&self) {
        self.migrating.store(true, Ordering::Release);
    }

    /// Whether calls are admitted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.migrating.load(Ordering::Acquire)
    }

    /// Returns how many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.used()
    }

    /// Returns the share of one of the tenant's callers, or `None` without a policy.
    #[must_use]
    pub fn of_caller(&self, caller: &Caller) -> Option<Arc<CallerShare>> {
        let new = || {
            let trail = TrailShare::of_caller(self.trail.clone());
            CallerShare::new(
                self.waiting.calls.most(),
                large_reads(self.has_others),
                trail,
            )
        };
        self.callers.of(caller, new)
    }

    /// Returns how much the tenant can still take of its `own`, as long as other tenants keep what they have of the
    /// process's: it never has more than is left there.
    pub(super) fn free_of(&self, own: &Bound, process: &Bound) -> usize {
        let left = || process.free().saturating_sub(own.used()).div_ceil(2);
        match self.has_others {
            true => own.free().min(left()),
            false => own.free(),
        }
    }

    /// Checks that calls are admitted.
    pub(super) fn is_migrated(&self) -> Result<(), Error> {
        self.is_open().then_some(()).ok_or(Error::Migrating)
    }
}

/// Returns the places of a tenant for large reads.
fn large_reads(has_others: bool) -> LargeReads {
    match has_others {
        true => {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            LargeReads::of_tenant(cores)
        }
        false => LargeReads::of_process(),
    }
}
