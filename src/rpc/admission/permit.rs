//! What a call holds while it is in flight.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::OwnedSemaphorePermit,
    task::yield_now,
    time::{Instant, timeout},
};

use super::{
    LargeRead, Share, TenantShare, WAIT_FOR_LARGE_READS,
    bound::Taken,
    busy::{self, LEAST},
    caller::CallerShare,
    is_fair,
    turns::{Turn, Turns},
};
use crate::{
    error::Error,
    refresh::waits::{self, Waits},
    types::{ProviderName, lock},
};

/// So many bytes of a request count as one call: it takes about as long to decode them.
const BYTES_OF_A_CALL: usize = 32 * 1024;

/// A call's place among the calls in flight, and the bytes that it holds.
///
/// Whatever works for the call, or holds its request or its answer, has a share in the permit. The place is
/// free when the last of them is gone.
#[derive(Debug)]
#[must_use = "the call is in flight for as long as its permit is held"]
pub struct Permit {
    /// Among the calls of the connection, of the tenant and of the process.
    _places: [Taken; 3],
    /// Among the calls of the caller, if there is a policy.
    _place_of_caller: Option<Taken>,
    connection: Arc<Share>,
    tenant: Arc<TenantShare>,
    caller: Option<Arc<CallerShare>>,
    /// Whether it was the call's turn at any time.
    had_turn: AtomicBool,
    /// Whether it is a large read that goes on.
    is_reading: AtomicBool,
    held: Mutex<Held>,
}

/// Places for a large read.
type Reading = ([OwnedSemaphorePermit; 3], Option<OwnedSemaphorePermit>);

#[derive(Debug)]
struct Held {
    /// Of the bytes of the connection, of the tenant and of the process.
    bytes: [Taken; 3],
    /// Of the bytes of the caller.
    bytes_of_caller: Option<Taken>,
    /// Places among the large reads of the connection, of the caller, of the tenant and of the process.
    reading: Option<Reading>,
    /// The work for it since it had such places.
    work: Option<Worked>,
    /// Places among the calls of the connection, of the tenant, of the process and of the caller that wait for providers.
    waiting: Option<([Taken; 3], Option<Taken>)>,
    /// The turns of the caller and of one of several tenants, while the call is worked for.
    turns: (Option<Turn>, Option<Turn>),
    /// When the answer began to leave.
    leaving_since: Option<usize>,
}

/// The processor time that a call takes.
#[derive(Debug)]
struct Worked {
    /// Until it was last left off.
    before: Duration,
    /// What its thread had had when it was gone on with. `None` while nothing is done for it.
    since: Option<Duration>,
}

impl Permit {
    pub(super) fn new(
        (places, place_of_caller): ([Taken; 3], Option<Taken>),
        bytes: [Taken; 3],
        (connection, tenant, caller): (Arc<Share>, Arc<TenantShare>, Option<Arc<CallerShare>>),
    ) -> Self {
        let bytes_of_caller = caller.as_ref().and_then(|caller| caller.bytes.take(0));
        Self {
            _places: places,
            _place_of_caller: place_of_caller,
            connection,
            tenant,
            caller,
            had_turn: AtomicBool::new(false),
            is_reading: AtomicBool::new(false),
            held: Mutex::new(Held {
                bytes,
                bytes_of_caller,
                reading: None,
                work: None,
                waiting: None,
                turns: (None, None),
                leaving_since: None,
            }),
        }
    }

    /// Adds `more` bytes to what the call holds.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`] if that is more than the connection, the tenant or the process may hold now, and
    /// [`Error::TooLarge`] if it is more than they ever may.
    pub fn hold(&self, more: usize) -> Result<(), Error> {
        self.grow(&mut lock(&self.held), "the request", more)
    }

    /// Waits until it is the turn of the call, whose request has arrived. It has its turn until it is answered, or waits for
    /// a provider.
    ///
    /// What it holds by then is to be decoded, and so a large request counts as several calls.
    pub async fn turn(&self) {
        let weight = lock(&self.held).bytes[0].amount().div_ceil(BYTES_OF_A_CALL);
        self.turn_of(weight.clamp(1, LEAST)).await;
        self.had_turn.store(true, Ordering::Relaxed);
    }

    async fn turn_of(&self, weight: usize) {
        let Some(caller) = &self.caller else {
            return;
        };
        if !caller.turns.are_few(caller.calls.used(), weight) && busy::is_limited(Instant::now()) {
            // So that a call whose client has left by now is dropped before anything is done for it.
            yield_now().await;
        }
        let all = self.connection.all.calls.used();
        let next = async |turns: &Arc<Turns>, calls: usize| match turns.are_few(calls, weight) {
            true => None,
            false => Some(turns.next(Instant::now(), calls < all, weight).await),
        };
        let of_caller = next(&caller.turns, caller.calls.used()).await;
        let tenant = &self.tenant;
        let of_tenant = match tenant.has_others {
            true => next(&tenant.turns, tenant.calls.used()).await,
            false => None,
        };
        if of_caller.is_some() || of_tenant.is_some() {
            lock(&self.held).turns = (of_caller, of_tenant);
        }
    }

    /// Takes note that nothing more is done for the call. One that never had its turn cost something all the same, and whoever
    /// has many of those is read more slowly: they count as refused.
    pub fn note_end(&self) {
        if !self.had_turn.load(Ordering::Relaxed) {
            self.connection.note_refused(self.caller.as_deref());
        }
    }

    /// Does some of the work for the call, and takes note of the time that it takes if it is a large read.
    pub fn working<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.is_reading()
            && let Some(work) = &mut lock(&self.held).work
        {
            work.since = Some(busy::worked());
        }
        let done = work();
        if self.is_reading()
            && let Some(work) = &mut lock(&self.held).work
        {
            work.leave_off();
        }
        done
    }

    fn is_reading(&self) -> bool {
        self.is_reading.load(Ordering::Relaxed)
    }

    /// Waits for a place among the calls that read many rows at once, and then for another turn: it counts as several calls
    /// if those before it took long. The call keeps place and turn until the size of its answer is known, or until it waits
    /// for a provider.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`] if no place becomes free in time.
    pub async fn large_read(&self, of: LargeRead) -> Result<(), Error> {
        let connection = &self.connection;
        let size = connection.expected.size();
        // Who waits keeps no turn from others.
        lock(&self.held).turns = (None, None);
        let places = async {
            let own = connection.large_reads.place(of, size).await?;
            let caller = match &self.caller {
                Some(caller) => Some(caller.large_reads.place(of, size).await?),
                None => None,
            };
            let tenant = self.tenant.large_reads.place(of, size).await?;
            let all = connection.all.large_reads.place(of, size).await?;
            Some(([own, tenant, all], caller))
        };
        // The semaphores are never closed.
        let Ok(Some(places)) = timeout(WAIT_FOR_LARGE_READS, places).await else {
            return Err(Error::Overloaded);
        };
        lock(&self.held).reading = Some(places);
        self.turn_of(connection.expected.weight()).await;
        lock(&self.held).work = Some(Worked {
            before: Duration::ZERO,
            since: Some(busy::worked()),
        });
        self.is_reading.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes note that the call is answered. From now on it holds the bytes of its answer only.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`] if the connection, the tenant or the process may not hold that much now, and
    /// [`Error::TooLarge`] if they never may: to repeat the call would not help.
    pub fn answered(&self, answer: usize) -> Result<(), Error> {
        let mut held = lock(&self.held);
        (held.reading, held.waiting, held.turns) = (None, None, (None, None));
        if let Some(work) = held.work.take() {
            self.is_reading.store(false, Ordering::Relaxed);
            self.connection.expected.note(answer, work.in_all());
        }
        let before = held.bytes[0].amount();
        if answer > before {
            self.grow(&mut held, "the answer", answer - before)?;
        }
        held.shrink(answer);
        held.leaving_since = Some(self.connection.leaving.begin());
        Ok(())
    }

    /// Adds `more` bytes to what is `held`, unless the connection, the caller or the tenant wouldn't leave enough to others.
    fn grow(&self, held: &mut Held, what: &'static str, more: usize) -> Result<(), Error> {
        let [connection, tenant, process] = &held.bytes;
        let before = connection.amount();
        // What fits if this call is the only one. `is_fair` counts what the call holds already on both sides.
        let most = |of: &Taken| of.whole().most();
        let limit = (most(process) - before)
            .min(most(connection))
            .min(most(tenant));
        let size = before.saturating_add(more);
        if size > limit {
            return Err(Error::TooLarge { what, size, limit });
        }
        let (own, tenants, all) = (connection.whole(), tenant.whole(), process.whole());
        let is_fair = is_fair(own, all, more)
            && (!self.tenant.has_others || is_fair(tenants, all, more))
            && self.caller.as_ref().is_none_or(|caller| {
                caller.may_hold(before, more, self.tenant.free_of(tenants, all))
            });
        if !is_fair {
            return Err(Error::Overloaded);
        }
        if held.parts().all(|bytes| bytes.grow(more)) {
            return Ok(());
        }
        held.shrink(before);
        Err(Error::Overloaded)
    }
}

impl Waits for Permit {
    /// Takes a place among the calls that wait for providers, which the call keeps until it is answered. What it wanted to
    /// read is read, so that others may.
    fn wait_for(&self, provider: &ProviderName, free: usize) -> Option<waits::MayWait> {
        let mut held = lock(&self.held);
        let has_place = held.waiting.is_some();
        let connection = &self.connection;
        let (own, all) = (&connection.waiting, &connection.all.waiting);
        let tenant = &self.tenant.waiting;
        // Tenants may have providers of the same name, which aren't the same.
        let provider = (self.tenant.number, provider.clone());
        let of_caller = match &self.caller {
            Some(caller) => Some(caller.wait_for(&provider, (free, tenant), has_place)?),
            None => None,
        };
        let waits = [
            own.wait_for(&provider, has_place)?,
            tenant.wait_for(&provider, has_place)?,
            all.wait_for(&provider, has_place)?,
        ];
        if !has_place {
            let places = [
                own.calls.take(1)?,
                tenant.calls.take(1)?,
                all.calls.take(1)?,
            ];
            let place = self
                .caller
                .as_ref()
                .map(|caller| caller.waiting.calls.take(1));
            held.waiting = Some((places, place.flatten()));
        }
        (held.reading, held.turns) = (None, (None, None));
        Some(Box::new((waits, of_caller)))
    }
}

impl Worked {
    fn leave_off(&mut self) {
        self.before = self.in_all();
        self.since = None;
    }

    /// Returns how much there was so far.
    fn in_all(&self) -> Duration {
        let since = |since| busy::worked().saturating_sub(since);
        self.before + self.since.map_or(Duration::ZERO, since)
    }
}

impl Held {
    fn parts(&mut self) -> impl Iterator<Item = &mut Taken> {
        self.bytes.iter_mut().chain(&mut self.bytes_of_caller)
    }

    /// Gives back what is more than `amount` bytes.
    fn shrink(&mut self, amount: usize) {
        self.parts().for_each(|bytes| bytes.shrink(amount));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let since = lock(&self.held).leaving_since;
        if let Some(generation) = since {
            self.connection.leaving.end(generation);
        }
        self.connection.note_let_in();
    }
}
