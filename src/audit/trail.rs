//! The trail as the rest of the program sees it.

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    AuditError, AuditOptions, Destination, Duty, Event, Figures, Known, Names, Reservation,
    TrailShare,
    crowd::Turnstile,
    desk::Desk,
    entry::{Entry, Reserved, entry},
    figures::count,
    file::FileSink,
    queue::Queue,
    sink::{Sink, Stdout},
    tail::Tail,
    writer::Writer,
};
use crate::{error::Error, types::lock};

/// How much longer than it should a writer may take to end.
const OVERTIME: Duration = Duration::from_millis(500);

/// The audit trail. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Shared>>);

/// What all that write events share.
pub(super) struct Shared {
    pub duty: Duty,
    pub patience: Duration,
    pub figures: Arc<Figures>,
    places: usize,
    names: Arc<Names>,
    queues: Vec<Arc<Queue>>,
    turnstile: Turnstile,
    /// Where events lie before the queues have them.
    desks: Mutex<Vec<Weak<Desk>>>,
    /// Each ends when a writer has ended.
    writers: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Audit {
    /// Returns a trail that nobody writes.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the destinations, and begins to write.
    ///
    /// # Errors
    /// Returns [`AuditError`] if a destination can't be opened.
    pub fn start(options: AuditOptions) -> Result<Self, AuditError> {
        let mut trail = Beginning::new(options);
        for destination in std::mem::take(&mut trail.options.destinations) {
            match destination {
                Destination::Stdout => {
                    let stdout = Stdout::open();
                    let stdout = stdout.map_err(|e| AuditError::Open("stdout".to_owned(), e))?;
                    trail.add(stdout, Tail::default())?;
                }
                Destination::File { path, rotation } => {
                    let (name, sync) = (path.display().to_string(), trail.options.sync);
                    let figures = Arc::clone(&trail.figures);
                    let opened = FileSink::open(path, rotation, sync, figures);
                    let (file, tail) = opened.map_err(|error| AuditError::Open(name, error))?;
                    trail.add(file, tail)?;
                }
            }
        }
        Ok(trail.begun())
    }

    /// Whether events are written.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Returns what makes the names of rows, sessions and users, if events are written.
    #[must_use]
    pub fn names(&self) -> Option<&Arc<Names>> {
        self.0.as_ref().map(|shared| &shared.names)
    }

    /// Returns what was counted, if events are written.
    #[must_use]
    pub fn figures(&self) -> Option<&Arc<Figures>> {
        self.0.as_ref().map(|shared| &shared.figures)
    }

    /// Reserves a place for the event of a call, before the call does anything. Returns `None` if no events are written.
    ///
    /// # Errors
    /// Returns [`Error::AuditUnavailable`] if events are required and can't be written now.
    pub fn reserve(&self) -> Result<Option<Reservation>, Error> {
        self.reserve_for(None)
    }

    /// Like [`reserve`](Self::reserve), for a call of whoever has this `share` of the places. Who has more than a share finds none.
    ///
    /// # Errors
    /// Returns [`Error::AuditUnavailable`], as `reserve` does.
    pub fn reserve_for(
        &self,
        share: Option<&Arc<TrailShare>>,
    ) -> Result<Option<Reservation>, Error> {
        let reserved = self.0.as_ref().map(|shared| shared.reserve(share));
        reserved.transpose()
    }

    /// Writes an event that no answer waits for, before those of all calls that begin from now on.
    pub fn note(&self, event: Event) {
        if let Some(shared) = &self.0 {
            // At a desk it would lie until the agent has its turn, and other desks' events overtake it.
            shared.hand_over(&[entry(event, shared.queues.len(), None, None)]);
        }
    }

    /// Looks again where the files are, because other software may have moved them away.
    pub fn reopen(&self) {
        for queue in self.queues() {
            queue.poke();
        }
    }

    /// Writes all events that wait, and ends. Gives up after `patience`. No place is given any more.
    pub async fn close(&self, patience: Duration) {
        let Some(shared) = &self.0 else {
            return;
        };
        let end = Instant::now() + patience;
        shared.close_desks();
        for queue in self.queues() {
            queue.close(end);
        }
        let writers = shared.writers();
        for ended in writers {
            let left = end.saturating_duration_since(Instant::now()) + OVERTIME;
            // It is an error as soon as the writer has ended, because nothing is sent.
            if timeout(left, ended).await.is_err() {
                tracing::error!("audit: a destination is stuck, and its last events are lost");
            }
        }
    }

    fn queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.0.iter().flat_map(|shared| &shared.queues)
    }
}

impl Shared {
    fn reserve(self: &Arc<Self>, share: Option<&Arc<TrailShare>>) -> Result<Reservation, Error> {
        let is_well = |queue: &Arc<Queue>| {
            let is_well = queue.is_well(self.patience);
            // The writer, which hangs, can't tell.
            if !is_well && queue.note_stuck() {
                count(&self.figures.failures);
                count(&self.figures.failing);
                tracing::error!(
                    to = queue.name(),
                    "audit: a write doesn't end, and calls are refused"
                );
            }
            is_well
        };
        let is_required = self.duty == Duty::Required;
        let reserved = match is_required && !self.queues.iter().all(is_well) {
            true => None,
            false => Reserved::one_of(self.places, &self.figures, share),
        };
        if is_required && reserved.is_none() {
            count(&self.figures.refused);
            self.queues.iter().for_each(|queue| count(&queue.refused));
            return Err(Error::AuditUnavailable);
        }
        Ok(Reservation {
            shared: Arc::clone(self),
            reserved,
        })
    }

    pub(super) fn push(self: &Arc<Self>, event: Event, reserved: Option<Reserved>) -> Arc<Entry> {
        let desk = Desk::here(self);
        let entry = entry(event, self.queues.len(), desk, reserved);
        let left = match &entry.desk {
            Some(desk) => desk.leave(Arc::clone(&entry)),
            None => Err(Arc::clone(&entry)),
        };
        if let Err(entry) = left {
            self.hand_over(&[entry]);
        }
        entry
    }

    /// Hands events to the writers.
    pub(super) fn hand_over(&self, entries: &[Arc<Entry>]) {
        self.queues.iter().for_each(|queue| queue.push(entries));
    }

    /// Takes note of a desk, so that what lies there is written before the end.
    pub(super) fn note_desk(&self, desk: &Arc<Desk>) {
        let mut desks = lock(&self.desks);
        desks.retain(|desk| desk.strong_count() > 0);
        desks.push(Arc::downgrade(desk));
    }

    /// Hands over what lies at the desks, and closes them.
    fn close_desks(&self) {
        let desks = std::mem::take(&mut *lock(&self.desks));
        for desk in desks.iter().filter_map(Weak::upgrade) {
            desk.close();
        }
    }

    /// Takes note of a denial. Returns whether it is to have an event of its own. Otherwise it is counted.
    pub(super) fn denied(
        &self,
        known: Option<Known>,
        share: Option<&TrailShare>,
        what: (&'static str, &'static str),
    ) -> bool {
        let now = Instant::now();
        let turnstile = share.map_or(&self.turnstile, |share| &share.denials);
        let passes = turnstile.passes(now);
        if !passes {
            count(&self.figures.counted);
            let queues = self.queues.iter();
            queues.for_each(|queue| queue.crowd.count(known.as_ref(), what, now));
        }
        passes
    }

    /// Returns what tells the ends of the writers, once.
    fn writers(&self) -> Vec<oneshot::Receiver<()>> {
        let mut writers = lock(&self.writers);
        std::mem::take(&mut *writers)
    }

    /// Takes note that an event is lost.
    pub(super) fn lose(&self) {
        count(&self.figures.lost);
        self.queues.iter().for_each(|queue| count(&queue.lost));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("duty", &self.duty)
            .finish_non_exhaustive()
    }
}

/// A trail whose destinations are being opened.
struct Beginning {
    options: AuditOptions,
    figures: Arc<Figures>,
    instance: String,
    queues: Vec<Arc<Queue>>,
    writers: Vec<oneshot::Receiver<()>>,
}

impl Beginning {
    fn new(options: AuditOptions) -> Self {
        Self {
            options,
            figures: Arc::default(),
            instance: format!("{:016x}", rand::random::<u64>()),
            queues: Vec::new(),
            writers: Vec::new(),
        }
    }

    /// Begins to write to `sink`.
    fn add(&mut self, sink: impl Sink, tail: Tail) -> Result<(), AuditError> {
        let queue = Arc::new(Queue::new(sink.name(), Arc::clone(&self.figures)));
        let writer = Writer::new(
            sink,
            tail,
            Arc::clone(&queue),
            Arc::clone(&self.figures),
            self.instance.clone(),
            self.options.sync,
        );
        let (ends, ended) = oneshot::channel::<()>();
        let run = move || {
            writer.run();
            drop(ends);
        };
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(run);
        thread.map_err(AuditError::Thread)?;
        self.queues.push(queue);
        self.writers.push(ended);
        Ok(())
    }

    fn begun(self) -> Audit {
        Audit(Some(Arc::new(Shared {
            duty: self.options.duty,
            patience: self.options.patience,
            figures: self.figures,
            places: self.options.places,
            names: self.options.names,
            queues: self.queues,
            turnstile: Turnstile::default(),
            desks: Mutex::default(),
            writers: Mutex::new(self.writers),
        })))
    }
}

#[cfg(test)]
mod tests;
