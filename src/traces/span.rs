//! A span: what took how long, and of what it is a part.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Instant, SystemTime},
};

use tokio::sync::mpsc;

use super::{
    Attribute,
    current::Entered,
    figures::TraceFigures,
    ids::{SpanId, TraceId},
};
use crate::types::lock;

/// How many spans one trace has at most here. A call that goes through all rows of a user would have any number.
const SPANS_OF_A_TRACE: u32 = 256;
/// How many links a span has at most.
const LINKS: usize = 8;

/// What a span's work is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers a call.
    Server,
    /// It asks another process.
    Client,
    /// It is done in this process.
    Internal,
}

/// The name of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A call, by the full name of the service and the method.
    Call(&'static str, &'static str),
    /// A piece of work.
    Work(&'static str),
}

/// The way to a span that another one has to do with, although it isn't a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

/// A span that hasn't ended. It ends when this is dropped.
#[derive(Debug)]
pub struct Span(Arc<Active>);

/// A span, for those who begin children of it.
#[derive(Debug)]
pub(super) struct Active {
    trace: Arc<Trace>,
    id: SpanId,
    parent: Option<SpanId>,
    parent_is_remote: bool,
    name: Name,
    kind: Kind,
    started: SystemTime,
    began: Instant,
    retries: AtomicU32,
    told: Mutex<Told>,
}

/// What spans of one trace share.
#[derive(Debug)]
struct Trace {
    id: TraceId,
    queue: Queue,
    /// How many spans it may still have.
    left: AtomicU32,
}

/// The way of spans that have ended.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub records: mpsc::Sender<Record>,
    pub figures: Arc<TraceFigures>,
}

#[derive(Debug, Default)]
pub(super) struct Told {
    pub attributes: Vec<Attribute>,
    pub links: Vec<Link>,
    pub is_failed: bool,
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Record {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub parent_is_remote: bool,
    pub name: Name,
    pub kind: Kind,
    pub started: SystemTime,
    pub ended: SystemTime,
    pub retries: u32,
    pub told: Told,
}

impl Span {
    /// Begins the first span of a trace here. `parent` is the caller's.
    pub(super) fn first(name: Name, parent: Option<super::Parent>, queue: Queue) -> Self {
        let trace = Trace {
            id: parent.map_or_else(TraceId::random, |parent| parent.trace),
            queue,
            left: AtomicU32::new(SPANS_OF_A_TRACE - 1),
        };
        let parent = parent.map(|parent| parent.span);
        let mut active = Active::new(Arc::new(trace), parent, name, Kind::Server);
        active.parent_is_remote = parent.is_some();
        Self(Arc::new(active))
    }

    /// Begins a child. `None` if the trace has too many spans.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: Kind) -> Option<Self> {
        self.0.child(name, kind)
    }

    /// Says something.
    pub fn note(&self, attribute: Attribute) {
        self.0.note(attribute);
    }

    /// Says that the work failed.
    pub fn fail(&self) {
        self.0.fail();
    }

    /// Says that it has to do with another span.
    pub fn relate(&self, link: Link) {
        self.0.told(|told| {
            if told.links.len() < LINKS {
                told.links.push(link);
            }
        });
    }

    /// Returns the way to this span.
    #[must_use]
    pub fn link(&self) -> Link {
        Link {
            trace: self.0.trace.id,
            span: self.0.id,
        }
    }

    /// Makes it the current span of this thread, until what this returns is dropped.
    pub fn enter(&self) -> Entered {
        Entered::new(Arc::clone(&self.0))
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let active = &self.0;
        let record = Record {
            trace: active.trace.id,
            id: active.id,
            parent: active.parent,
            parent_is_remote: active.parent_is_remote,
            name: active.name,
            kind: active.kind,
            started: active.started,
            // The clock of the system may be set meanwhile.
            ended: active.started + active.began.elapsed(),
            retries: active.retries.load(Ordering::Relaxed),
            told: active.told(std::mem::take),
        };
        active.trace.queue.push(record);
    }
}

impl Active {
    fn new(trace: Arc<Trace>, parent: Option<SpanId>, name: Name, kind: Kind) -> Self {
        Self {
            trace,
            id: SpanId::random(),
            parent,
            parent_is_remote: false,
            name,
            kind,
            started: SystemTime::now(),
            began: Instant::now(),
            retries: AtomicU32::new(0),
            told: Mutex::default(),
        }
    }

    pub fn child(&self, name: &'static str, kind: Kind) -> Option<Span> {
        let left = &self.trace.left;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        });
        if taken.is_err() {
            self.trace.queue.figures.dropped.up();
            return None;
        }
        let trace = Arc::clone(&self.trace);
        let active = Self::new(trace, Some(self.id), Name::Work(name), kind);
        Some(Span(Arc::new(active)))
    }

    pub fn note(&self, attribute: Attribute) {
        self.told(|told| {
            // What is said last counts.
            told.attributes.retain(|said| said.key() != attribute.key());
            told.attributes.push(attribute);
        });
    }

    pub fn fail(&self) {
        self.told(|told| told.is_failed = true);
    }

    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    fn told<T>(&self, tell: impl FnOnce(&mut Told) -> T) -> T {
        tell(&mut lock(&self.told))
    }
}

impl Queue {
    /// Hands a span over, if there is room. Never waits.
    fn push(&self, record: Record) {
        match self.records.try_reserve() {
            // Counted before anybody can take it out.
            Ok(place) => {
                self.figures.queued.up();
                place.send(record);
            }
            Err(_) => self.figures.dropped.up(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(room: usize) -> (Queue, mpsc::Receiver<Record>) {
        let (records, receiver) = mpsc::channel(room);
        let figures = Arc::default();
        (Queue { records, figures }, receiver)
    }

    #[test]
    fn spans_that_there_is_no_room_for_are_counted() {
        let (queue, mut records) = queue(2);
        for _ in 0..5 {
            drop(Span::first(Name::Work("w"), None, queue.clone()));
        }
        assert_eq!(queue.figures.queued.get(), 2);
        assert_eq!(queue.figures.dropped.get(), 3);
        records.close();
        drop(Span::first(Name::Work("w"), None, queue.clone()));
        assert_eq!(queue.figures.dropped.get(), 4);
    }

    #[test]
    fn a_trace_has_so_many_spans() {
        let (queue, _records) = queue(10);
        let span = Span::first(Name::Work("w"), None, queue.clone());
        let began = (0..1000).filter_map(|_| span.child("c", Kind::Internal));
        let began: Vec<_> = began.collect();
        assert_eq!(began.len(), 255);
        assert_eq!(queue.figures.dropped.get(), 745);
        // A child of a child is one of them.
        assert!(began[0].child("c", Kind::Internal).is_none());
    }

    #[test]
    fn what_is_said_last_counts() {
        let (queue, mut records) = queue(10);
        let span = Span::first(Name::Work("w"), None, queue);
        span.note(Attribute::Outcome("failed"));
        span.note(Attribute::Outcome("refreshed"));
        drop(span);
        let told = records.try_recv().unwrap().told;
        assert_eq!(told.attributes, [Attribute::Outcome("refreshed")]);
    }
}
