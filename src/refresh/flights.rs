//! The refreshes that this process runs: one a row, which all callers share.
//!
//! A flight goes on whether its callers wait or not, as long as its request may be under way.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    error::Error,
    traces::{self, Kind, Link, Span},
    types::{RowKey, StoredRow, UnixTime, Version, lock},
};

/// How long tokens that can't be stored are handed out from memory. Nobody else can delete them there.
pub(super) const UNSAVED: Duration = Duration::from_secs(60);

/// How far a refresh is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// It runs, here or on another broker.
    Running,
    /// It failed, and isn't tried again before this moment.
    BackedOff(Instant, Error),
    /// The provider answered with tokens, and they can't be stored yet. They are handed out until this moment.
    Unsaved(Box<StoredRow>, Instant),
    /// It has ended.
    Ended(End),
}

/// Returns a row that can't be stored, if it may still be handed out.
pub(super) fn served(stored: &StoredRow, until: Instant) -> Option<&StoredRow> {
    let is_good = Instant::now() < until && !stored.row.is_expired(UnixTime::now());
    is_good.then_some(stored)
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

impl End {
    /// Returns its name in traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Row(_) => "refreshed",
            Self::Fresher(_) => "fresher",
            Self::Throttled => "throttled",
            Self::Failed(_) => "failed",
        }
    }
}

/// A refresh that runs.
#[derive(Debug)]
pub(super) struct Flight {
    /// The version of the row that it began with.
    version: Version,
    /// Who has a receiver waits for it.
    progress: watch::Sender<Progress>,
    /// Tells that somebody joined who knows another version of the row.
    outdated: Notify,
    /// The way to its span, if the call that began it is traced.
    link: Option<Link>,
}

/// What somebody who joins a refresh gets.
pub(super) struct Joined {
    /// How far the refresh is.
    pub progress: watch::Receiver<Progress>,
    /// The refresh, if it has to be run.
    pub flight: Option<Arc<Flight>>,
    /// The span of the refresh, for who runs it, if the call that began it is traced.
    pub span: Option<Span>,
    /// The way to the span of the refresh.
    pub link: Option<Link>,
    /// Whether it began with another version of the row. Then what it tells next counts, and not how far it is.
    pub is_of_another_version: bool,
}

/// The refreshes that run.
#[derive(Debug, Default)]
pub(super) struct Flights {
    running: Mutex<HashMap<RowKey, Arc<Flight>>>,
    /// How many run.
    count: watch::Sender<usize>,
}

/// The place of a refresh among those that run. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    flights: &'a Flights,
    key: RowKey,
    flight: Arc<Flight>,
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
    /// Joins the refresh of a row that has this version. If none was running, the caller has to run it. One that waits with
    /// another version looks at the row again.
    pub fn join(&self, key: &RowKey, version: Version) -> Joined {
        match lock(&self.running).entry(key.clone()) {
            Entry::Occupied(running) => {
                let flight = running.get();
                let is_of_another_version = flight.version != version;
                if is_of_another_version {
                    flight.outdated.notify_one();
                }
                Joined {
                    progress: flight.progress.subscribe(),
                    flight: None,
                    span: None,
                    link: flight.link,
                    is_of_another_version,
                }
            }
            Entry::Vacant(place) => {
                let span = traces::child("refresh", Kind::Internal);
                let link = span.as_ref().map(Span::link);
                let flight = Arc::new(Flight {
                    version,
                    progress: watch::Sender::new(Progress::Running),
                    outdated: Notify::new(),
                    link,
                });
                place.insert(Arc::clone(&flight));
                Joined {
                    progress: flight.progress.subscribe(),
                    flight: Some(flight),
                    span,
                    link,
                    is_of_another_version: false,
                }
            }
        }
    }

    /// Returns the row as it will be, if the provider has answered and the row can't be stored yet. If the row shows a
    /// version, it must be the one with which the refresh began, or the one that it writes.
    pub fn unsaved(&self, key: &RowKey, shown: Option<Version>) -> Option<StoredRow> {
        let flight = lock(&self.running).get(key).cloned()?;
        let progress = flight.progress.borrow();
        let Progress::Unsaved(stored, until) = &*progress else {
            return None;
        };
        let is_known = |shown| shown == flight.version || shown == stored.version;
        let served = served(stored, *until).filter(|_| shown.is_none_or(is_known));
        served.cloned()
    }

    /// Returns the place of a flight that [`Flights::join`] returned.
    pub fn slot(&self, key: RowKey, flight: Arc<Flight>) -> Slot<'_> {
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
}

impl Slot<'_> {
    /// Tells who waits how far the refresh is.
    pub fn tell(&self, progress: Progress) {
        self.flight.progress.send_replace(progress);
    }

    /// Waits until nobody waits for the refresh any more.
    pub async fn until_lonely(&self) {
        self.flight.progress.closed().await;
    }

    /// Waits until somebody joins who knows another version of the row.
    pub async fn until_outdated(&self) {
        self.flight.outdated.notified().await;
    }

    /// Ends the refresh, if nobody waits for it. Returns whether it did.
    pub fn leave(&self) -> bool {
        let mut running = lock(&self.flights.running);
        let leaves = self.flight.progress.receiver_count() == 0;
        if leaves {
            running.remove(&self.key);
        }
        leaves
    }

    /// Ends the refresh, and tells who waits.
    pub fn end(self, end: End) {
        lock(&self.flights.running).remove(&self.key);
        self.tell(Progress::Ended(end));
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut running = lock(&self.flights.running);
        if let Entry::Occupied(other) = running.entry(self.key.clone())
            && Arc::ptr_eq(other.get(), &self.flight)
        {
            other.remove();
        }
    }
}
