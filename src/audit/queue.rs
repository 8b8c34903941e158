//! The events on their way to one destination.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    crowd::Crowd,
    entry::Entry,
    figures::Figures,
    flow::{Flow, Gathered},
};
use crate::types::lock;

/// What waits for the writer of one destination, and how the writer fares.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the last attempt to write failed, or nobody writes any more.
    is_failing: AtomicBool,
    /// Where the events go.
    name: String,
    figures: Arc<Figures>,
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

#[derive(Debug)]
struct State {
    waiting: Vec<Arc<Entry>>,
    is_poked: bool,
    /// When the writer gives up at the latest, once it is to end.
    end: Option<Instant>,
    /// For how many events the writer waits, while it does.
    awaited: Option<usize>,
    flow: Flow,
    /// When the writer began to wait for some events, or the last of these came, and how many calls were in flight then.
    stirred: (Instant, usize),
    has_ended: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            is_poked: false,
            end: None,
            awaited: None,
            flow: Flow::default(),
            stirred: (Instant::now(), 0),
            has_ended: false,
        }
    }
}

impl State {
    /// Whether so many events wait, or there is something else to do.
    fn has(&self, events: usize) -> bool {
        self.waiting.len() >= events || self.is_poked || self.end.is_some()
    }
}

/// What the writer has to do.
#[derive(Debug)]
pub(super) struct Taken {
    pub entries: Vec<Arc<Entry>>,
    /// When to give up at the latest, if this is the end.
    pub end: Option<Instant>,
}

impl Queue {
    /// Returns the queue of a destination, which the log calls `name`.
    pub fn new(name: String, figures: Arc<Figures>) -> Self {
        Self {
            name,
            figures,
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

    /// Adds events. Fails them at once if nobody writes any more.
    pub fn push(&self, entries: &[Arc<Entry>]) {
        let mut state = lock(&self.state);
        if state.has_ended {
            drop(state);
            entries.iter().for_each(|entry| entry.failed());
            return;
        }
        state.waiting.extend_from_slice(entries);
        if state.awaited.is_some() {
            state.stirred = (Instant::now(), self.in_flight());
        }
        self.wake(state);
    }

    /// Returns how many events the writer has yet to take.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// Has the writer look where its file is.
    pub fn poke(&self) {
        let mut state = lock(&self.state);
        state.is_poked = true;
        self.wake(state);
    }

    /// Tells the writer to write what waits, and to end by `end` at the latest.
    pub fn close(&self, end: Instant) {
        let mut state = lock(&self.state);
        state.end = Some(end);
        self.wake(state);
    }

    /// Wakes the writer if that is what it waits for. To wake it costs more than to look.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if state.awaited.is_some_and(|awaited| state.has(awaited)) {
            state.awaited = None;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Returns how many calls have yet to come to their events, or have events that wait.
    fn in_flight(&self) -> usize {
        let waiting = self.figures.waiting.load(Ordering::Relaxed);
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    /// Waits until there is something to do, for `patience` at most. While events come fast, some gather first.
    pub fn take(&self, patience: Duration) -> Taken {
        self.busy_since.store(0, Ordering::Release);
        let mut state = lock(&self.state);
        let in_flight = self.in_flight();
        if let Some((wanted, gathered)) = state.flow.gathers(in_flight) {
            state.stirred = (Instant::now(), in_flight);
            state = self.wait(state, wanted, gathered.min(patience));
            let gathered = Gathered {
                wanted,
                came: state.waiting.len(),
                still_since: (state.stirred.1 == self.in_flight()).then_some(state.stirred.0),
            };
            state.flow.note_gathered(Instant::now(), gathered);
        }
        state = self.wait(state, 1, patience);
        let events = state.waiting.len();
        state.flow.note(Instant::now(), events);
        let taken = Taken {
            entries: std::mem::take(&mut state.waiting),
            end: state.end,
        };
        state.is_poked = false;
        drop(state);
        self.busy_since.store(self.now().max(1), Ordering::Release);
        taken
    }

    /// Takes the events that wait now.
    pub fn take_waiting(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut lock(&self.state).waiting)
    }

    /// Waits for so many events, or for something else to do.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        events: usize,
        patience: Duration,
    ) -> MutexGuard<'a, State> {
        if state.has(events) || patience.is_zero() {
            return state;
        }
        state.awaited = Some(events);
        let waited = self.changed.wait_timeout(state, patience);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.awaited = None;
        state
    }

    /// Takes note whether events can be written.
    pub fn note_failing(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::Release);
    }

    /// Takes note that nobody writes any more. Fails the events that wait, and returns how many these are.
    pub fn ended(&self) -> usize {
        self.note_failing(true);
        self.busy_since.store(0, Ordering::Release);
        let mut state = lock(&self.state);
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

    /// Takes note that no attempt takes too long any more. Returns whether one did.
    pub fn note_unstuck(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::audit::{Event, Kind, entry::entry};

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(600);

    /// Returns a queue of events that come fast, of which a writer waits so long for some.
    fn queue(gathered: Duration) -> Queue {
        let queue = slow();
        lock(&queue.state).flow = Flow::fast(gathered);
        queue
    }

    /// Returns a queue of events that come slowly. Eight calls are in flight.
    fn slow() -> Queue {
        let queue = Queue::new("a test".to_owned(), Arc::default());
        queue.figures.waiting.store(8, Ordering::Relaxed);
        queue
    }

    fn push(queue: &Queue) {
        let event = Event::new(Kind::Call, None, "OK");
        queue.push(&[entry(event, 1, None, None)]);
    }

    /// Waits until the writer waits for so many events.
    fn until_it_awaits(queue: &Queue, events: usize) {
        while lock(&queue.state).awaited != Some(events) {
            thread::yield_now();
        }
    }

    #[test]
    fn while_events_come_fast_half_of_those_in_flight_gather() {
        let queue = queue(LONG);
        thread::scope(|scope| {
            let writer = scope.spawn(|| queue.take(LONG));
            until_it_awaits(&queue, 4);
            for waiting in 1..=3 {
                push(&queue);
                let state = lock(&queue.state);
                assert_eq!((state.waiting.len(), state.awaited), (waiting, Some(4)));
            }
            push(&queue);
            assert_eq!(writer.join().unwrap().entries.len(), 4);
        });
    }

    #[test]
    fn events_gather_for_a_moment_at_most() {
        let queue = queue(Duration::from_micros(500));
        push(&queue);
        assert_eq!(queue.take(LONG).entries.len(), 1);
    }

    /// One call alone waits for no other, and neither does the end of the process.
    #[test]
    fn nothing_gathers_when_nothing_else_comes() {
        let fast = queue(LONG);
        fast.figures.waiting.store(1, Ordering::Relaxed);
        push(&fast);
        assert_eq!(fast.take(LONG).entries.len(), 1);
        for end in [Queue::poke, |queue: &Queue| queue.close(Instant::now())] {
            let queue = queue(LONG);
            thread::scope(|scope| {
                let writer = scope.spawn(|| queue.take(LONG));
                until_it_awaits(&queue, 4);
                push(&queue);
                end(&queue);
                assert_eq!(writer.join().unwrap().entries.len(), 1);
            });
        }
    }

    #[test]
    fn events_that_come_slowly_are_taken_at_once() {
        let queue = slow();
        thread::scope(|scope| {
            let writer = scope.spawn(|| queue.take(LONG));
            until_it_awaits(&queue, 1);
            push(&queue);
            assert_eq!(writer.join().unwrap().entries.len(), 1);
        });
    }
}
