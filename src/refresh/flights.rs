//! The refreshes that this process runs: one a row, which all callers share.
//!
//! A flight goes on whether its callers wait or not, as long as its request may be under way.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};

use crate::{
    error::Error,
    types::{RowKey, StoredRow},
};

/// How far a refresh is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// It runs, here or on another broker.
    Running,
    /// It failed, and isn't tried again before this moment.
    BackedOff(Instant, Error),
    /// The provider answered with tokens, and they can't be stored yet.
    Unsaved(Box<StoredRow>),
    /// It has ended.
    Ended(End),
}

/// How a refresh ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The row was refreshed, and is this now.
    Row(Box<StoredRow>),
    /// The row was stored or refreshed meanwhile, and is this now.
    Fresher(Box<StoredRow>),
    /// The row was refreshed shortly before because its access token was refused.
    Throttled,
    /// The row couldn't be refreshed.
    Failed(Error),
}

/// A refresh that runs. Who has a receiver waits for it.
pub(super) type Flight = Arc<watch::Sender<Progress>>;

/// The refreshes that run.
#[derive(Debug, Default)]
pub(super) struct Flights {
    running: Mutex<HashMap<RowKey, Flight>>,
    /// How many run.
    count: watch::Sender<usize>,
}

/// The place of a refresh among those that run. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    flights: &'a Flights,
    key: RowKey,
    flight: Flight,
    _counted: Counted<'a>,
}

/// Something that runs.
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a Flights);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

impl Flights {
    /// Joins the refresh of a row. Returns the flight too if none was running, so that the caller has to run it.
    pub fn join(&self, key: &RowKey) -> (watch::Receiver<Progress>, Option<Flight>) {
        match self.running().entry(key.clone()) {
            Entry::Occupied(running) => (running.get().subscribe(), None),
            Entry::Vacant(place) => {
                let flight = Flight::new(watch::Sender::new(Progress::Running));
                place.insert(Arc::clone(&flight));
                (flight.subscribe(), Some(flight))
            }
        }
    }

    /// Returns the row as it will be, if the provider has answered and the row can't be stored yet.
    pub fn unsaved(&self, key: &RowKey) -> Option<StoredRow> {
        let flight = self.running().get(key).cloned()?;
        let progress = flight.borrow();
        match &*progress {
            Progress::Unsaved(stored) => Some((**stored).clone()),
            _ => None,
        }
    }

    /// Returns the place of a flight that [`Flights::join`] returned.
    pub fn slot(&self, key: RowKey, flight: Flight) -> Slot<'_> {
        Slot {
            flights: self,
            key,
            flight,
            _counted: self.counted(),
        }
    }

    /// Counts something as running until what this returns is dropped.
    pub fn counted(&self) -> Counted<'_> {
        self.count.send_modify(|count| *count += 1);
        Counted(self)
    }

    /// Waits until none runs.
    pub async fn ended(&self) {
        let mut count = self.count.subscribe();
        _ = count.wait_for(|&count| count == 0).await;
    }

    /// Returns how many run.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<RowKey, Flight>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot<'_> {
    /// Tells who waits how far the refresh is.
    pub fn tell(&self, progress: Progress) {
        self.flight.send_replace(progress);
    }

    /// Waits until nobody waits for the refresh any more.
    pub async fn is_lonely(&self) {
        self.flight.closed().await;
    }

    /// Ends the refresh, if nobody waits for it. Returns whether it did.
    pub fn leave(&self) -> bool {
        let mut running = self.flights.running();
        let leaves = self.flight.receiver_count() == 0;
        if leaves {
            running.remove(&self.key);
        }
        leaves
    }

    /// Ends the refresh, and tells who waits.
    pub fn end(self, end: End) {
        self.flights.running().remove(&self.key);
        self.tell(Progress::Ended(end));
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut running = self.flights.running();
        if let Entry::Occupied(other) = running.entry(self.key.clone())
            && Arc::ptr_eq(other.get(), &self.flight)
        {
            other.remove();
        }
    }
}
