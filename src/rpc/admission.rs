//! Which calls come in: as many at once as the broker can hold, and none before it is ready.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Admits calls. Clones share everything.
#[derive(Clone, Debug)]
pub struct Admission {
    permits: Arc<Semaphore>,
    most: usize,
    migrating: Arc<AtomicBool>,
}

/// A call's place among the calls in flight. The place is free again when this is dropped.
///
/// It is an owned value, so that whoever does the work can hold it: a future, a stream, or a task
/// that goes on when the caller has lost interest.
#[derive(Debug)]
#[must_use = "the call is in flight for as long as its permit is held"]
pub struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Admission {
    /// Admits `most` calls at once. Refuses all of them as [`Error::Migrating`] until
    /// [`Admission::open`].
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most)),
            most,
            migrating: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Admits calls from now on.
    pub fn open(&self) {
        self.migrating.store(false, Ordering::Release);
    }

    /// Admits a call, or refuses it at once.
    ///
    /// # Errors
    /// [`Error::Migrating`] before [`Admission::open`]; [`Error::Overloaded`] while as many calls as
    /// may be are in flight.
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

    /// Waits until no call is in flight. Calls that come meanwhile are refused as too many.
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
