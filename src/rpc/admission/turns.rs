//! Turns: a thread that is busy works for a few calls of one caller at a time, so that those of others wait for few.
//!
//! The bounds on calls in flight keep memory and queues short, but a caller that may have a hundred calls in flight can have a
//! hundred that are ready to go on, and all others come after them. So a call of a caller that has several is begun when it is
//! its turn. A caller with few calls never waits. Neither does any other while no thread is late, or while no other caller calls.
//!
//! Calls differ in how long a thread works for them. So each weighs something: one that costs as much as several others counts
//! as several.
//!
//! A turn lasts while the call is worked for, and until the thread has come round to all that it can work for. Otherwise calls
//! that wait for nothing would follow each other without end.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::busy::{self, LEAST};
use crate::types::lock;

/// Threads that work for calls are told apart, up to so many.
const LANES: usize = 16;
/// How long a call waits for its turn at most. Whatever its caller's other calls are held up by, it is begun then.
const PATIENCE: Duration = Duration::from_secs(1);

/// The turns of the calls of one caller, or of one tenant.
pub(super) struct Turns {
    /// By threads.
    lanes: [Lane; LANES],
    /// So many times as many calls as those of one caller.
    times: usize,
}

/// The calls that one thread works for.
#[derive(Default)]
struct Lane {
    /// What they weigh.
    running: AtomicUsize,
    /// How many wait, which is told before they do.
    queued: AtomicUsize,
    waiting: Mutex<VecDeque<Waiting>>,
}

/// A call that waits for its turn.
struct Waiting {
    weight: usize,
    gets: oneshot::Sender<Turn>,
}

/// A call that has its turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// `None` if another call has taken it over.
    of: Option<Arc<Turns>>,
    lane: usize,
    weight: usize,
}

impl Turns {
    /// Returns the turns of a caller, or of what may have so many `times` as much.
    pub fn new(times: usize) -> Arc<Self> {
        Arc::new(Self {
            lanes: std::array::from_fn(|_| Lane::default()),
            times,
        })
    }

    /// Whether nobody who has so many calls in flight, each of this weight, waits for turns.
    pub fn are_few(&self, calls: usize, weight: usize) -> bool {
        calls.saturating_mul(weight) <= LEAST * self.times
    }

    /// Waits `now` for the turn of a call that weighs no more than [`LEAST`]. `has_others`: somebody else has calls.
    pub async fn next(self: &Arc<Self>, now: Instant, has_others: bool, weight: usize) -> Turn {
        let running = |lane: usize| self.lanes[lane].running.load(Ordering::Relaxed);
        let before = running(busy::thread() % LANES);
        busy::look(now, before / self.times, has_others).await;
        let turn = self.at_once(weight);
        // A light call that came before those that wait would keep a heavy one from its turn.
        let is_first = self.lanes[turn.lane].queued.load(Ordering::SeqCst) == 0;
        if is_first && running(turn.lane) <= self.most(now) {
            return turn;
        }
        let received = self.queue(turn);
        match timeout(PATIENCE, received).await {
            Ok(Ok(turn)) => turn,
            // The other end is never dropped as long as there are calls to wait for.
            Ok(Err(_)) | Err(_) => self.at_once(weight),
        }
    }

    /// Gives a call its turn, whatever others do.
    pub fn at_once(self: &Arc<Self>, weight: usize) -> Turn {
        let lane = busy::thread() % LANES;
        self.lanes[lane].running.fetch_add(weight, Ordering::SeqCst);
        Turn {
            of: Some(Arc::clone(self)),
            lane,
            weight,
        }
    }

    /// Gives a turn up for a later one.
    fn queue(&self, turn: Turn) -> oneshot::Receiver<Turn> {
        let (gets, received) = oneshot::channel();
        let (lane, weight) = (&self.lanes[turn.lane], turn.weight);
        lane.queued.fetch_add(1, Ordering::SeqCst);
        lock(&lane.waiting).push_back(Waiting { weight, gets });
        // Whichever of the two ends last sees the other, so that the queue goes on.
        drop(turn);
        received
    }

    /// For how many calls this thread works at once.
    fn most(&self, now: Instant) -> usize {
        busy::limit(now).saturating_mul(self.times)
    }

    /// Takes note that a call of this weight has had its turn, and gives those that wait theirs.
    fn ended(self: &Arc<Self>, number: usize, weight: usize) {
        let lane = &self.lanes[number];
        lane.running.fetch_sub(weight, Ordering::SeqCst);
        if lane.queued.load(Ordering::SeqCst) == 0 {
            return;
        }
        let most = self.most(Instant::now());
        while let Some(Waiting { weight, gets }) = lane.next(most) {
            let turn = Turn {
                of: Some(Arc::clone(self)),
                lane: number,
                weight,
            };
            if let Err(mut turn) = gets.send(turn) {
                // The call was given up meanwhile.
                turn.of = None;
                lane.running.fetch_sub(weight, Ordering::SeqCst);
            }
        }
    }
}

impl Lane {
    /// Returns who is to have a turn next, and counts it.
    fn next(&self, most: usize) -> Option<Waiting> {
        let mut waiting = lock(&self.waiting);
        let running = self.running.load(Ordering::SeqCst);
        if running.saturating_add(waiting.front()?.weight) > most {
            return None;
        }
        let next = waiting.pop_front()?;
        self.queued.fetch_sub(1, Ordering::SeqCst);
        self.running.fetch_add(next.weight, Ordering::SeqCst);
        Some(next)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.of.take() else {
            return;
        };
        let (number, weight) = (self.lane, self.weight);
        match busy::is_limited(Instant::now()) {
            true => busy::after_all(move || turns.ended(number, weight)),
            false => turns.ended(number, weight),
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}
