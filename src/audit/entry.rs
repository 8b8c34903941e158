//! An event on its way, and who waits for it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use super::{
    Duty, Event, Known, TrailShare,
    desk::Desk,
    figures::{Figures, count},
    trail::Shared,
};
use crate::error::Error;

/// An event that waits to be written to each destination.
#[derive(Debug)]
pub(super) struct Entry {
    pub event: Event,
    /// How many destinations haven't written it.
    left: AtomicUsize,
    /// Whether the caller isn't to have the answer, because of a failure.
    is_failed: AtomicBool,
    is_withheld: AtomicBool,
    waker: AtomicWaker,
    /// Where who waits for it learns that it is written. `None`: at once.
    pub desk: Option<Arc<Desk>>,
    _reserved: Option<Reserved>,
}

impl Entry {
    /// Takes note that a destination has written it. Returns whether it was the last one, so that who waits is to be told.
    pub fn written(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether each destination has written it.
    pub fn is_written(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// Wakes who waits for it.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Takes note that a destination can't write it now. Whoever waits for it gives up.
    pub fn failed(&self) {
        self.is_failed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the caller doesn't get the answer that the event tells of.
    pub fn is_withheld(&self) -> bool {
        self.is_withheld.load(Ordering::Acquire)
    }
}

/// One of the places for events. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    figures: Arc<Figures>,
    /// Whose it is. `None`: nobody's in particular, and not yet counted as anybody's.
    of: Option<Arc<TrailShare>>,
}

impl Reserved {
    /// Returns a place for somebody, if fewer than `most` are taken and they leave enough to others.
    pub fn one_of(
        most: usize,
        figures: &Arc<Figures>,
        of: Option<&Arc<TrailShare>>,
    ) -> Option<Self> {
        let taken = figures.waiting.fetch_add(1, Ordering::AcqRel);
        // It gives the place back if it is one too many.
        let mut reserved = Self {
            figures: Arc::clone(figures),
            of: None,
        };
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        let left = most.checked_sub(taken)?.checked_sub(1)?;
        if let Some(of) = of {
            reserved.of = of.take(left).then(|| Arc::clone(of));
            reserved.of.as_ref()?;
        }
        Some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.figures.waiting.fetch_sub(1, Ordering::AcqRel);
        if let Some(of) = &self.of {
            of.give_back();
        }
    }
}

/// A place that is reserved for the event of a call, before the call does anything.
#[derive(Debug)]
pub struct Reservation {
    pub(super) shared: Arc<Shared>,
    /// `None` if there was no place and the event will be lost.
    pub(super) reserved: Option<Reserved>,
}

impl Reservation {
    /// Hands the event over. With [`Duty::Required`], the answer must wait until the result is ready, and must be
    /// withheld if the result is dropped or an error. The event then says so, unless it is written already.
    pub fn take(self, event: Event) -> Written {
        let (entry, shared) = self.push(event);
        let is_waited_for = shared.duty == Duty::Required;
        Written(
            entry
                .filter(|_| is_waited_for)
                .map(|entry| Waiting { entry, shared }),
        )
    }

    /// Hands over the event of a call that has no answer.
    pub fn leave(self, event: Event) {
        self.push(event);
    }

    /// Takes note that the call is denied. Returns the reservation if the denial is to have an event of its own. There may be any
    /// number of them, so most are counted in one event: those of a `known` caller by themselves, and those of callers whom
    /// nobody knows together. `share` is that of the caller.
    #[must_use]
    pub fn of_denied(
        self,
        known: Option<Known>,
        share: Option<&TrailShare>,
        (rpc, reason): (&'static str, &'static str),
    ) -> Option<Self> {
        let denied = self.shared.denied(known, share, (rpc, reason));
        denied.then_some(self)
    }

    fn push(self, event: Event) -> (Option<Arc<Entry>>, Arc<Shared>) {
        let Self { shared, reserved } = self;
        if reserved.is_none() {
            shared.lose();
            return (None, shared);
        }
        (Some(shared.push(event, reserved)), shared)
    }
}

/// The future of an event that is written.
///
/// # Errors
/// It is [`Error::AuditUnavailable`] if the event can't be written in time.
#[derive(Debug)]
#[must_use]
pub struct Written(Option<Waiting>);

#[derive(Debug)]
struct Waiting {
    entry: Arc<Entry>,
    shared: Arc<Shared>,
}

impl Future for Written {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(waiting) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        waiting.entry.waker.register(cx.waker());
        if waiting.entry.is_written() {
            self.0 = None;
            return Poll::Ready(Ok(()));
        }
        if waiting.entry.is_failed.load(Ordering::Acquire) {
            // The event says that the answer is withheld.
            count(&waiting.shared.figures.withheld);
            self.give_up();
            return Poll::Ready(Err(Error::AuditUnavailable));
        }
        Poll::Pending
    }
}

impl Written {
    fn give_up(&mut self) {
        if let Some(waiting) = self.0.take()
            && !waiting.entry.is_written()
        {
            waiting.entry.is_withheld.store(true, Ordering::Release);
        }
    }
}

impl Drop for Written {
    /// The client has left, which is no fault of the trail.
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Makes the entry of an event for so many destinations, which lies at `desk` first.
pub(super) fn entry(
    event: Event,
    destinations: usize,
    desk: Option<Arc<Desk>>,
    reserved: Option<Reserved>,
) -> Arc<Entry> {
    Arc::new(Entry {
        event,
        left: AtomicUsize::new(destinations),
        is_failed: AtomicBool::new(false),
        is_withheld: AtomicBool::new(false),
        waker: AtomicWaker::new(),
        desk,
        _reserved: reserved,
    })
}
