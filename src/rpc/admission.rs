//! Admission of calls. It limits how many calls are in flight, and refuses all calls before the broker
//! is ready.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Admits calls. Clones share their state.
#[derive(Clone, Debug)]
pub struct Admission {
    permits: Arc<Semaphore>,
    most: usize,
    migrating: Arc<AtomicBool>,
}

/// A call's place among the calls in flight. Dropping the permit frees the place.
///
/// A permit borrows nothing, so the future, stream or task that does the work can own it. A task may
/// hold it even after its caller has given up.
#[derive(Debug)]
#[must_use = "the call is in flight for as long as its permit is held"]
pub struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Admission {
    /// Makes an admission of at most `most` calls at once. It refuses all calls as
    /// [`Error::Migrating`] until [`Admission::open`].
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most)),
            most,
            migrating: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Starts to admit calls.
    pub fn open(&self) {
        self.migrating.store(false, Ordering::Release);
    }

    /// Admits a call, or refuses it at once.
    ///
    /// # Errors
    /// Returns [`Error::Migrating`] before [`Admission::open`], and [`Error::Overloaded`] while the
    /// maximum number of calls is in flight.
    pub fn admit(&self) -> Result<Permit, Error> {
        if self.migrating.load(Ordering::Acquire) {
            return Err(Error::Migrating);
        }
        let place = Arc::clone(&self.permits).try_acquire_owned();
        let _place = place.map_err(|_| Error::Overloaded)?;
        Ok(Permit { _place })
    }

    /// Returns how many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.most - self.permits.available_permits()
    }

    /// Waits until no call is in flight. Calls that arrive meanwhile are refused as
    /// [`Error::Overloaded`].
    pub async fn drain(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        self.permits
            .acquire_many(all)
            .await
            .map(drop)
            .unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;

    fn open(most: usize) -> Admission {
        let admission = Admission::new(most);
        admission.open();
        admission
    }

    #[test]
    fn one_call_too_many_is_refused_until_a_place_is_free() {
        let admission = open(1);
        let permit = admission.admit().unwrap();
        assert_eq!(admission.in_flight(), 1);
        assert!(matches!(admission.admit(), Err(Error::Overloaded)));
        drop(permit);
        assert_eq!(admission.in_flight(), 0);
        assert!(admission.admit().is_ok());
    }

    #[test]
    fn nothing_is_admitted_while_migrating() {
        let admission = Admission::new(1);
        assert!(matches!(admission.admit(), Err(Error::Migrating)));
    }

    #[test]
    fn a_drain_waits_for_the_calls_in_flight_and_lets_no_other_in() {
        let admission = open(2);
        let permit = admission.admit().unwrap();
        let mut drained = Box::pin(admission.drain());
        assert!(drained.as_mut().now_or_never().is_none());
        assert!(matches!(admission.admit(), Err(Error::Overloaded)));
        drop(permit);
        assert!(drained.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_stream_holds_its_permit_to_its_end() {
        let admission = open(1);
        let permit = admission.admit().unwrap();
        let mut numbers = Box::pin(stream::iter([1, 2]).map(move |number| {
            let _held = &permit;
            number
        }));
        assert_eq!(numbers.next().await, Some(1));
        assert_eq!(admission.in_flight(), 1);
        drop(numbers);
        assert_eq!(admission.in_flight(), 0);
    }
}
