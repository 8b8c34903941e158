//! Admission of calls. It limits how many calls are in flight and how many bytes they hold, in the process,
//! for each tenant, for each of its callers and on each connection, and refuses all calls of a tenant before it is ready.
//!
//! A call is admitted when its headers have arrived, before its message is read. Its [`Permit`] lasts until
//! the store has answered, and until the answer has left the process or its stream is gone.

mod aside;
mod bound;
mod busy;
mod caller;
mod expected;
mod large_reads;
mod leaving;
mod let_in;
mod pace;
mod pause;
mod permit;
mod tenant;
#[cfg(test)]
mod tests;
mod turns;
mod waiting;

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Extensions;
use tokio::time::{Instant, Sleep, sleep_until};

#[cfg(test)]
pub(super) use self::busy::be_late;
pub use self::{
    aside::{Aside, SidePlaces},
    caller::CallerShare,
    large_reads::LargeRead,
    permit::Permit,
    tenant::TenantShare,
};
use self::{
    bound::{Bound, Taken},
    expected::Expected,
    large_reads::LargeReads,
    leaving::Leaving,
    let_in::LetIn,
    pace::Pace,
    pause::Pause,
    waiting::Waiting,
};
use crate::{error::Error, types::Source};

/// How long a call waits for a place among the large reads.
const WAIT_FOR_LARGE_READS: Duration = Duration::from_secs(1);
/// One connection may have one part in so many of the calls in flight...
const PART_OF_CALLS: usize = 8;
/// ...but this many in any case, as far as that is fair.
const CALLS_OF_A_CONNECTION: usize = 100;
/// One call in so many may wait for a provider. Who waits costs next to nothing, but slow providers must leave places for
/// calls that don't need them.
const PART_THAT_WAITS: usize = 2;
/// One place in so many of a connection is for calls that don't wait. Even if all others wait, the connection has fewer than
/// are left in the process, so that these calls are admitted.
const PART_THAT_DOES_NOT_WAIT: usize = 8;
/// One connection may have one part in so many of the bytes in flight.
const PART_OF_BYTES: usize = 4;
/// How many calls of one connection may be in flight to the services beside the broker's own.
const ASIDE: usize = 16;

/// The limits of all calls together.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// How many may be in flight.
    pub calls: usize,
    /// How many bytes their requests and answers may have.
    pub bytes: usize,
    /// How many bytes one call may have in any case.
    pub largest: usize,
    /// What one tenant may have; `None` if there is only one, which may have everything.
    pub of_a_tenant: Option<TenantLimits>,
}

/// The limits of the calls of one tenant.
#[derive(Clone, Copy, Debug)]
pub struct TenantLimits {
    /// How many may be in flight.
    pub calls: usize,
    /// How many bytes their requests and answers may have.
    pub bytes: usize,
}

/// Admits calls. Clones share their state.
#[derive(Clone, Debug)]
pub struct Admission(Arc<All>);

/// What all connections share.
#[derive(Debug)]
struct All {
    limits: CallLimits,
    calls: Arc<Bound>,
    bytes: Arc<Bound>,
    large_reads: LargeReads,
    waiting: Arc<Waiting>,
    /// How fast calls of nobody known are refused.
    pace: Pace,
    /// How many connections are open.
    connections: AtomicUsize,
}

/// One connection's share of what calls may use.
#[derive(Debug)]
pub struct Share {
    all: Arc<All>,
    source: Source,
    calls: Arc<Bound>,
    bytes: Arc<Bound>,
    large_reads: LargeReads,
    waiting: Arc<Waiting>,
    expected: Expected,
    aside: Arc<Bound>,
    leaving: Leaving,
    let_in: LetIn,
    pause: Pause,
    /// The first caller that a call of the connection was of.
    caller: OnceLock<Arc<CallerShare>>,
    /// Whether there were calls of others, too, as behind a proxy.
    is_shared: AtomicBool,
}

impl CallLimits {
    /// Returns how many calls one connection may have in flight. HTTP/2 recommends no fewer than 100.
    #[must_use]
    pub fn calls_of_a_connection(&self) -> usize {
        (self.calls / PART_OF_CALLS).max(CALLS_OF_A_CONNECTION)
    }

    fn bytes_of_a_connection(&self) -> usize {
        (self.bytes / PART_OF_BYTES).max(self.largest)
    }
}

impl Admission {
    /// Makes an admission of calls within `limits`.
    #[must_use]
    pub fn new(limits: CallLimits) -> Self {
        Self(Arc::new(All {
            limits,
            calls: Bound::new(limits.calls),
            bytes: Bound::new(limits.bytes.max(limits.largest)),
            large_reads: LargeReads::of_process(),
            waiting: Waiting::new(limits.calls / PART_THAT_WAITS),
            pace: Pace::default(),
            connections: AtomicUsize::new(0),
        }))
    }

    /// Returns the share of one more tenant. Its calls are refused until [`TenantShare::open`].
    #[must_use]
    pub fn tenant(&self) -> Arc<TenantShare> {
        TenantShare::new(&self.0.limits)
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> CallLimits {
        self.0.limits
    }

    /// Returns the share of a new connection from `source`.
    #[must_use]
    pub fn share(&self, source: Source) -> Arc<Share> {
        let limits = &self.0.limits;
        // A single connection gets no more than half of all calls.
        let calls = limits.calls_of_a_connection().min(limits.calls / 2);
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        Arc::new(Share {
            all: Arc::clone(&self.0),
            source,
            calls: Bound::new(limits.calls_of_a_connection()),
            bytes: Bound::new(limits.bytes_of_a_connection()),
            large_reads: LargeReads::of_connection(),
            waiting: Waiting::new(calls - calls / PART_THAT_DOES_NOT_WAIT),
            expected: Expected::default(),
            aside: Bound::new(ASIDE),
            leaving: Leaving::default(),
            let_in: LetIn::default(),
            pause: Pause::default(),
            caller: OnceLock::new(),
            is_shared: AtomicBool::new(false),
        })
    }

    /// Returns the share of the connection that a request came over. Over no connection of the broker's own, the
    /// request has a share to itself.
    #[must_use]
    pub fn share_of(&self, extensions: &Extensions) -> Arc<Share> {
        let share = extensions.get::<Arc<Share>>().cloned();
        share.unwrap_or_else(|| self.share(Source::default()))
    }

    /// Returns how many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.calls.used()
    }

    /// Returns how many calls wait for providers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.calls.used()
    }

    /// Returns how many bytes of messages and answers are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.used()
    }

    /// Waits until no call is in flight.
    pub async fn drained(&self) {
        self.0.calls.unused().await;
    }
}

impl Share {
    /// Admits a call of this connection, made by whoever has the share `caller` about the data of `tenant`, or refuses it at
    /// once.
    ///
    /// # Errors
    /// Returns [`Error::Migrating`] before [`TenantShare::open`], and [`Error::Overloaded`] while the
    /// maximum number of calls is in flight.
    pub fn admit(
        self: &Arc<Self>,
        tenant: &Arc<TenantShare>,
        caller: Option<Arc<CallerShare>>,
    ) -> Result<Arc<Permit>, Error> {
        tenant.is_migrated()?;
        let (calls, bytes) = (&self.all.calls, &self.all.bytes);
        if !is_fair(&self.calls, calls, 1)
            || (tenant.has_others && !is_fair(&tenant.calls, calls, 1))
        {
            return Err(Error::Overloaded);
        }
        let free = || tenant.free_of(&tenant.calls, calls);
        let place = caller.as_deref().map(|caller| caller.place(free()));
        let place = place.transpose()?;
        let places = [
            taken(&self.calls, 1)?,
            taken(&tenant.calls, 1)?,
            taken(calls, 1)?,
        ];
        let bytes = [
            taken(&self.bytes, 0)?,
            taken(&tenant.bytes, 0)?,
            taken(bytes, 0)?,
        ];
        let of = (Arc::clone(self), Arc::clone(tenant), caller);
        Ok(Arc::new(Permit::new((places, place), bytes, of)))
    }

    /// Admits a call to a service beside the broker's own, or refuses it at once.
    ///
    /// # Errors
    /// Returns [`Error::Overloaded`].
    pub fn admit_aside(self: &Arc<Self>, places: &SidePlaces) -> Result<Aside, Error> {
        places.take(self, taken(&self.aside, 1)?)
    }

    /// Takes note that the policy let a call in, whether it is admitted or not. Only who has a caller's credentials comes that far.
    pub fn note_let_in(&self) {
        self.let_in.note();
    }

    /// Takes note that a call of this caller came over the connection.
    pub fn note_caller(&self, caller: &Arc<CallerShare>) {
        let first = self.caller.get_or_init(|| Arc::clone(caller));
        if first.number != caller.number {
            self.is_shared.store(true, Ordering::Relaxed);
        }
    }

    /// Returns where the connection comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns the number of the first caller that a call of the connection was of. Without a policy there is none.
    #[must_use]
    pub fn caller(&self) -> Option<u64> {
        self.caller.get().map(|caller| caller.number)
    }

    /// Takes note that a call was refused, of a `caller` if it is known, or that something was answered that anybody may ask
    /// for. Whoever has many calls refused is read more slowly. A call of nobody known is one of the connection's caller, if it
    /// has one. So strangers who flood elsewhere don't slow what a proxy's or a caller's connection carries.
    ///
    /// A connection of several callers isn't read more slowly, because it wouldn't be known whose calls come next. So calls of
    /// nobody known count there for nobody: the connection's first caller would pay for them elsewhere.
    pub fn note_refused(&self, caller: Option<&CallerShare>) {
        if caller.is_none() && self.is_shared() {
            return;
        }
        let pace = caller.map_or_else(|| self.pace(), |caller| &caller.pace);
        let connections = self.all.connections.load(Ordering::Relaxed);
        let until = pace.refused(Instant::now(), connections);
        if let Some(until) = until
            && !self.is_shared()
        {
            self.pause.extend(until);
        }
    }

    /// Returns until when the connection isn't to be read, if that is still to come.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.pause.until()
    }

    /// Waits while the connection isn't to be read. `pause` is the wait that is under way, if one is.
    pub fn poll_pause(
        &self,
        pause: &mut Option<Pin<Box<Sleep>>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            if let Some(sleep) = pause {
                ready!(sleep.as_mut().poll(cx));
                *pause = None;
            }
            let Some(until) = self.paused_until() else {
                return Poll::Ready(());
            };
            *pause = Some(Box::pin(sleep_until(until)));
        }
    }

    /// Whether the connection is to be read call by call, because many calls of those whose connection it is were refused not
    /// long ago.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        !self.is_shared() && self.pace().is_low()
    }

    /// Returns the pace of the connection's caller, or of all strangers if it has none.
    fn pace(&self) -> &Pace {
        self.caller
            .get()
            .map_or(&self.all.pace, |caller| &caller.pace)
    }

    /// Whether calls of several callers came over the connection.
    fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Returns when a call that was let in was last under way, or `None` if there never was one.
    #[must_use]
    pub fn last_let_in(&self) -> Option<Instant> {
        match self.in_flight() {
            0 => self.let_in.last(),
            _ => Some(Instant::now()),
        }
    }

    /// Returns how many calls of this connection are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.used()
    }

    /// Returns whether an answer was already leaving at the last look but one. Each call is a look.
    #[must_use]
    pub fn look_if_stuck(&self) -> bool {
        self.leaving.next_generation()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a connection or a tenant may have `more`. None may have more than what is left for all others, so
/// that a few greedy ones can't take everything: there is always something left for the next.
fn is_fair(own: &Bound, process: &Bound, more: usize) -> bool {
    own.used().saturating_add(more) <= process.free()
}

fn taken(bound: &Arc<Bound>, amount: usize) -> Result<Taken, Error> {
    bound.take(amount).ok_or(Error::Overloaded)
}
