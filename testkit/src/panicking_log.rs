//! A log that panics: whoever says a certain thing panics in the middle of its work.
//!
//! So a test has a fault in a task of the broker that can't be given one, and the broker that is shipped has no place for it.

use std::{
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};

use crate::captured_log::log_of_this_thread;

/// A log of this thread, which panics at lines that have a text in them, a number of times.
#[must_use]
pub struct PanickingLog {
    shared: Arc<Shared>,
    _guard: DefaultGuard,
}

struct Shared {
    text: &'static str,
    times: usize,
    panics: AtomicUsize,
}

impl PanickingLog {
    /// Has this thread panic the first `times` that it is about to log a line with `text`. All tasks of a runtime with one thread
    /// belong to it.
    pub fn at(text: &'static str, times: usize) -> Self {
        let shared = Arc::new(Shared {
            text,
            times,
            panics: AtomicUsize::new(0),
        });
        Self {
            _guard: log_of_this_thread(Dispatch::new(Log(Arc::clone(&shared)))),
            shared,
        }
    }

    /// Returns how often it has panicked.
    #[must_use]
    pub fn panics(&self) -> usize {
        self.shared
            .panics
            .load(Ordering::SeqCst)
            .min(self.shared.times)
    }
}

struct Log(Arc<Shared>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if !line.0.contains(self.0.text) {
            return;
        }
        let before = self.0.panics.fetch_add(1, Ordering::SeqCst);
        assert!(before >= self.0.times, "as the test wants");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{value:?} ").unwrap();
    }
}
