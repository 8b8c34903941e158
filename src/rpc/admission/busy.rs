//! How busy each thread is that works for calls, and how many calls of one caller it should work for at once.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{runtime::Handle, task::yield_now, time::Instant};

use crate::types::lock;

/// How many calls of one caller a thread works for in any case.
pub(super) const LEAST: usize = 8;
/// So many are as good as any number.
const MOST: usize = 1024;
/// How much processor time whoever comes next may have to wait for. It is about as much as ten calls of one row take.
const LATE: Duration = Duration::from_micros(300);
/// So much processor time counts as one call: about as much as one of one row takes.
const EACH: Duration = Duration::from_micros(30);
/// How often a thread looks how late it is.
const LOOK: Duration = Duration::from_millis(1);
/// For how long what a look has found counts, and for how long somebody else is taken to be there who was.
const REMEMBERED: Duration = Duration::from_secs(1);

thread_local! {
    static THREAD: Thread = Thread::new();
}

/// What a thread knows of itself.
struct Thread {
    number: usize,
    /// For how many calls of one caller it works at once.
    limit: Cell<usize>,
    looked: Cell<Option<Instant>>,
    /// When others than the caller of the call that looked had calls.
    had_others: Cell<Option<Instant>>,
    after_all: Later,
}

type Deed = Box<dyn FnOnce() + Send>;

/// What is to be done when the thread has come round.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<Vec<Deed>>>);

impl Later {
    /// Adds something, and returns whether it is the first.
    fn add(&self, then: impl FnOnce() + Send + 'static) -> bool {
        let mut all = lock(&self.0);
        all.push(Box::new(then));
        all.len() == 1
    }

    fn run(&self) {
        let all = {
            let mut all = lock(&self.0);
            std::mem::take(&mut *all)
        };
        for then in all {
            // One that panics keeps nobody else from a turn. The panic is told of by itself.
            catch_unwind(AssertUnwindSafe(then)).ok();
        }
    }
}

impl Thread {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            limit: Cell::new(MOST),
            looked: Cell::new(None),
            had_others: Cell::new(None),
            after_all: Later::default(),
        }
    }

    fn note(&self, late: Duration, running: usize) {
        let limit = self.limit.get();
        let next = match late > LATE {
            // From what it is, not from what it might be, so that it is lower at once.
            true => limit.min(running).saturating_mul(4) / 5,
            false => limit + (limit / 16).max(1),
        };
        self.limit.set(next.clamp(LEAST, MOST));
    }

    fn limit(&self, now: Instant) -> usize {
        match is_recent(self.had_others.get(), now) && is_recent(self.looked.get(), now) {
            true => self.limit.get(),
            false => usize::MAX,
        }
    }
}

fn is_recent(moment: Option<Instant>, now: Instant) -> bool {
    moment.is_some_and(|moment| now.saturating_duration_since(moment) < REMEMBERED)
}

/// Returns the number of this thread.
pub(super) fn thread() -> usize {
    THREAD.with(|thread| thread.number)
}

/// Returns for how many calls of one caller this thread should work at once. There is no limit while the caller is the only
/// one.
pub(super) fn limit(now: Instant) -> usize {
    THREAD.with(|thread| thread.limit(now))
}

/// Whether there is such a limit.
pub(super) fn is_limited(now: Instant) -> bool {
    limit(now) < MOST
}

/// Does something when this thread has come round to all that it can work for now.
pub(super) fn after_all(then: impl FnOnce() + Send + 'static) {
    let later = THREAD.with(|thread| thread.after_all.clone());
    if !later.add(then) {
        return;
    }
    match Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(async move {
                yield_now().await;
                later.run();
            });
        }
        // The process is about to end.
        Err(_) => later.run(),
    }
}

/// Looks how late this thread is, now and then. The caller of the call that looks has `running` calls that the thread works
/// for, and `has_others`: others have calls, too.
///
/// What counts is the processor time that passes until the thread comes back to this call, after all that it can work for.
/// Other processes that take the processor from it don't count: fewer calls would change nothing about them.
pub(super) async fn look(now: Instant, running: usize, has_others: bool) {
    let is_due = THREAD.with(|thread| {
        if has_others {
            thread.had_others.set(Some(now));
        }
        let looked = thread.looked.get();
        let is_due = looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK);
        if is_due {
            if !is_recent(looked, now) {
                thread.limit.set(MOST);
            }
            thread.looked.set(Some(now));
        }
        is_due
    });
    if is_due {
        let before = worked();
        yield_now().await;
        let late = worked().saturating_sub(before);
        THREAD.with(|thread| thread.note(late, running));
    }
}

/// Has this thread find itself late, `now` and with others.
#[cfg(test)]
pub(in crate::rpc) fn be_late(now: Instant) {
    THREAD.with(|thread| {
        thread.looked.set(Some(now));
        thread.had_others.set(Some(now));
        thread.note(LATE * 2, LEAST);
    });
}

/// Returns as how many calls one counts that takes so much processor time.
pub(super) fn weight(worked: Duration) -> usize {
    let calls = worked.as_nanos().div_ceil(EACH.as_nanos());
    usize::try_from(calls).unwrap_or(LEAST).clamp(1, LEAST)
}

/// Returns how much processor time this thread has had.
pub(super) fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds)
        + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_late_works_for_fewer_calls_of_one_caller() {
        let thread = Thread::new();
        thread.note(LATE * 2, 100);
        assert_eq!(thread.limit.get(), 80);
        for _ in 0..30 {
            thread.note(LATE * 2, 100);
        }
        assert_eq!(thread.limit.get(), LEAST);
        // When it is no longer late, it works for more, and soon for any number.
        let looks = (0..).take_while(|_| {
            thread.note(LATE, 100);
            thread.limit.get() < MOST
        });
        assert!((50..200).contains(&looks.count()));
    }

    #[test]
    fn what_costs_more_weighs_more_up_to_all_that_a_thread_works_for() {
        assert_eq!(weight(Duration::ZERO), 1);
        assert_eq!(weight(EACH), 1);
        assert_eq!(weight(EACH * 3 + Duration::from_nanos(1)), 4);
        assert_eq!(weight(Duration::MAX), LEAST);
    }

    #[test]
    fn what_was_found_counts_for_a_while_and_among_several_callers_alone() {
        let (thread, now) = (Thread::new(), Instant::now());
        thread.limit.set(LEAST);
        thread.looked.set(Some(now));
        assert_eq!(thread.limit(now), usize::MAX);
        thread.had_others.set(Some(now));
        assert_eq!(thread.limit(now), LEAST);
        assert_eq!(thread.limit(now + REMEMBERED), usize::MAX);
    }

    #[test]
    fn one_deed_that_panics_keeps_no_other_from_being_done() {
        let (later, done) = (Later::default(), Arc::<AtomicUsize>::default());
        for panics in [false, true, false] {
            let done = Arc::clone(&done);
            later.add(move || {
                assert!(!panics, "as the test wants");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        later.run();
        assert_eq!(done.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_work_of_others_makes_a_thread_late_and_sleep_does_not() {
        let late = async |work: fn()| {
            let other = tokio::spawn(async move { work() });
            let before = worked();
            yield_now().await;
            let late = worked().saturating_sub(before);
            other.await.unwrap();
            late
        };
        let span = Duration::from_millis(20);
        let worked = late(|| {
            let end = worked() + Duration::from_millis(20);
            while worked() < end {}
        });
        assert!(worked.await >= span);
        let slept = late(|| std::thread::sleep(Duration::from_millis(20)));
        assert!(slept.await < span);
    }
}
