//! Where the events of one runtime lie together, on their way to the writers and back.
//!
//! A thread that wakes another one pays a system call for it. So a runtime's events are handed over together, once those of
//! its tasks that are ready have had their turn, and a writer wakes a runtime once for all events that it has written
//! at a time. The *agent*, a task of the runtime, does both. It also looks at the time, with one timer for all answers that
//! wait.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    runtime::{Handle, Id},
    time::{Instant, Sleep, sleep_until},
};

use super::{Duty, entry::Entry, trail::Shared};
use crate::types::lock;

thread_local! {
    /// The desks that this thread has used: one for each trail and runtime, so one as a rule.
    static DESKS: RefCell<Vec<Arc<Desk>>> = const { RefCell::new(Vec::new()) };
}

/// The events of one runtime.
#[derive(Debug)]
pub(super) struct Desk {
    runtime: Id,
    trail: Weak<Shared>,
    /// How long an answer waits for its event, if answers do.
    patience: Option<Duration>,
    state: Mutex<State>,
    agent: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    /// What the writers don't have yet.
    outgoing: Vec<Arc<Entry>>,
    /// What was written, and whose waiting answers don't know that yet.
    written: Vec<Arc<Entry>>,
    /// Events whose answers wait, and when these give up, the first one first.
    late: VecDeque<(Instant, Arc<Entry>)>,
    /// The agent has ended: nothing may be left here.
    is_closed: bool,
}

impl Desk {
    /// Returns the desk of the runtime that this runs in, if it runs in one.
    pub fn here(trail: &Arc<Shared>) -> Option<Arc<Self>> {
        let runtime = Handle::try_current().ok()?;
        let id = runtime.id();
        DESKS.with_borrow_mut(|desks| {
            let is_mine = |desk: &&Arc<Self>| {
                desk.runtime == id && Weak::as_ptr(&desk.trail) == Arc::as_ptr(trail)
            };
            if let Some(desk) = desks.iter().find(is_mine) {
                return Some(Arc::clone(desk));
            }
            desks.retain(|desk| !lock(&desk.state).is_closed);
            let desk = Arc::new(Self {
                runtime: id,
                trail: Arc::downgrade(trail),
                patience: (trail.duty == Duty::Required).then_some(trail.patience),
                state: Mutex::default(),
                agent: AtomicWaker::new(),
            });
            trail.note_desk(&desk);
            runtime.spawn(Agent {
                desk: Arc::clone(&desk),
                timer: None,
            });
            desks.push(Arc::clone(&desk));
            Some(desk)
        })
    }

    /// Leaves an event here.
    ///
    /// # Errors
    /// Returns the event if the agent has ended.
    pub fn leave(&self, entry: Arc<Entry>) -> Result<(), Arc<Entry>> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Err(entry);
        }
        let is_first = state.outgoing.is_empty();
        state.outgoing.push(entry);
        drop(state);
        if is_first {
            self.agent.wake();
        }
        Ok(())
    }

    /// Tells whoever waits for these events that they are written.
    pub fn written(entries: impl Iterator<Item = Arc<Entry>>) {
        let mut desks = Vec::<Arc<Self>>::new();
        for entry in entries {
            let Some(desk) = entry.desk.as_ref().map(Arc::clone) else {
                entry.wake();
                continue;
            };
            let mut state = lock(&desk.state);
            if state.is_closed {
                entry.wake();
                continue;
            }
            state.written.push(entry);
            drop(state);
            if !desks.iter().any(|known| Arc::ptr_eq(known, &desk)) {
                desks.push(desk);
            }
        }
        desks.iter().for_each(|desk| desk.agent.wake());
    }

    /// Ends the agent, and hands over what lies here.
    pub fn close(&self) {
        let closed = State {
            is_closed: true,
            ..State::default()
        };
        let State {
            outgoing, written, ..
        } = mem::replace(&mut *lock(&self.state), closed);
        self.hand_over(&outgoing);
        written.iter().for_each(|entry| entry.wake());
        self.agent.wake();
    }

    /// Fails the events that are late. Returns when the next one is, if an answer waits.
    fn next_late(&self) -> Option<Instant> {
        let mut state = lock(&self.state);
        loop {
            let (late, entry) = state.late.front()?;
            if !entry.is_written() {
                if *late > Instant::now() {
                    return Some(*late);
                }
                entry.failed();
            }
            state.late.pop_front();
        }
    }

    fn hand_over(&self, entries: &[Arc<Entry>]) {
        match self.trail.upgrade() {
            _ if entries.is_empty() => {}
            Some(trail) => trail.hand_over(entries),
            None => entries.iter().for_each(|entry| entry.failed()),
        }
    }
}

/// The task that keeps a desk.
struct Agent {
    desk: Arc<Desk>,
    /// When the first of the answers that wait gives up, at the latest.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for Agent {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.desk.agent.register(cx.waker());
        let mut state = lock(&this.desk.state);
        if state.is_closed {
            return Poll::Ready(());
        }
        let outgoing = mem::take(&mut state.outgoing);
        let written = mem::take(&mut state.written);
        if let Some(patience) = this.desk.patience
            && !outgoing.is_empty()
        {
            let late = Instant::now() + patience;
            state
                .late
                .extend(outgoing.iter().map(|entry| (late, Arc::clone(entry))));
        }
        drop(state);
        this.desk.hand_over(&outgoing);
        written.iter().for_each(|entry| entry.wake());
        this.look_at_the_time(cx);
        Poll::Pending
    }
}

impl Agent {
    /// Fails what is late, and sees to it that this is called again when the next one is.
    fn look_at_the_time(&mut self, cx: &mut Context<'_>) {
        while let Some(next) = self.desk.next_late() {
            // It may have been set for an event that is written by now, and then ends too early, but never too late.
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.timer = None;
        }
    }
}

impl Drop for Agent {
    /// The runtime ends.
    fn drop(&mut self) {
        self.desk.close();
    }
}
