//! The events on their way to one destination.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{crowd::Crowd, entry::Entry};

/// What waits for the writer of one destination, and how the writer fares.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the last attempt to write failed, or nobody writes any more.
    is_failing: AtomicBool,
    /// Where the events go.
    name: String,
    /// Whether the present attempt has taken too long, as somebody found.
    is_stuck: AtomicBool,
    /// Since when the writer is at work without a pause, in milliseconds after `began`, and 0 while it waits.
    busy_since: AtomicU64,
    began: Instant,
    /// Events that were lost, and calls that were refused, since the last line about them.
    pub lost: AtomicU64,
    pub refused: AtomicU64,
    /// Refusals that are to be counted in one line.
    pub crowd: Crowd,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Arc<Entry>>,
    is_reopening: bool,
    /// When the writer gives up at the latest, once it is to end.
    end: Option<Instant>,
    is_writer_waiting: bool,
    has_ended: bool,
}

/// What the writer has to do.
#[derive(Debug)]
pub(super) struct Taken {
    pub entries: Vec<Arc<Entry>>,
    /// Whether to reopen the file.
    pub is_reopening: bool,
    /// When to give up at the latest, if this is the end.
    pub end: Option<Instant>,
}

impl Queue {
    /// Returns the queue of a destination, which the log calls `name`.
    pub fn new(name: String) -> Self {
        Self {
            name,
            is_stuck: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            is_failing: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
            began: Instant::now(),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            crowd: Crowd::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events. Fails them at once if nobody writes any more.
    pub fn push(&self, entries: &[Arc<Entry>]) {
        let mut state = self.state();
        if state.has_ended {
            drop(state);
            entries.iter().for_each(|entry| entry.failed());
            return;
        }
        state.waiting.extend_from_slice(entries);
        self.wake(state);
    }

    /// Returns how many events the writer has yet to take.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Tells the writer to reopen its file.
    pub fn reopen(&self) {
        let mut state = self.state();
        state.is_reopening = true;
        self.wake(state);
    }

    /// Tells the writer to write what waits, and to end by `end` at the latest.
    pub fn close(&self, end: Instant) {
        let mut state = self.state();
        state.end = Some(end);
        self.wake(state);
    }

    /// Wakes the writer if it waits, which costs more than looking whether it does.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::take(&mut state.is_writer_waiting) {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Waits until there is something to do, for `patience` at most.
    pub fn take(&self, patience: Duration) -> Taken {
        self.busy_since.store(0, Ordering::Release);
        let mut state = self.state();
        let is_idle =
            |state: &State| state.waiting.is_empty() && !state.is_reopening && state.end.is_none();
        if is_idle(&state) && !patience.is_zero() {
            state.is_writer_waiting = true;
            let waited = self.changed.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_writer_waiting = false;
        }
        let taken = Taken {
            entries: std::mem::take(&mut state.waiting),
            is_reopening: std::mem::take(&mut state.is_reopening),
            end: state.end,
        };
        drop(state);
        self.busy_since.store(self.now().max(1), Ordering::Release);
        taken
    }

    /// Takes note whether events can be written.
    pub fn note_failing(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::Release);
    }

    /// Takes note that nobody writes any more. Fails the events that wait, and returns how many these are.
    pub fn ended(&self) -> usize {
        self.note_failing(true);
        self.busy_since.store(0, Ordering::Release);
        let mut state = self.state();
        state.has_ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for entry in &waiting {
            entry.failed();
        }
        waiting.len()
    }

    /// Whether events can be written, as far as that is known: the last attempt succeeded, and the present one hasn't taken
    /// longer than `patience`.
    pub fn is_well(&self, patience: Duration) -> bool {
        if self.is_failing.load(Ordering::Acquire) {
            return false;
        }
        match self.busy_since.load(Ordering::Acquire) {
            0 => true,
            since => u128::from(self.now().saturating_sub(since)) <= patience.as_millis(),
        }
    }

    /// Takes note that the present attempt takes too long. Returns whether nobody knew.
    pub fn note_stuck(&self) -> bool {
        // One that failed or ended was told of already.
        let is_busy = self.busy_since.load(Ordering::Acquire) != 0;
        let is_failing = self.is_failing.load(Ordering::Acquire);
        is_busy && !is_failing && !self.is_stuck.swap(true, Ordering::AcqRel)
    }

    /// Whether an attempt that took too long has ended, and that wasn't asked before.
    pub fn is_stuck_no_more(&self) -> bool {
        self.is_stuck.swap(false, Ordering::AcqRel)
    }

    /// Returns where the events go.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
