//! What a connection is doing: whether it has calls or streams, and for how long it has had none.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::rpc::admission::Share;

/// What a connection is doing. The connection itself and whoever looks for room share it.
#[derive(Debug)]
pub(super) struct Activity {
    share: Arc<Share>,
    state: Mutex<State>,
    leave: Notify,
    /// Whether an answer waits in the outbox until the client reads.
    is_sending: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// How many calls and streams HTTP/2 is at work for.
    streams: usize,
    /// When the last of them ended, or when the connection began.
    quiet_since: Instant,
    had_a_call: bool,
    asked_to_leave: bool,
}

/// A call or a stream of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<Activity>);

impl Activity {
    /// Returns the activity of a new connection, whose calls are admitted by `share`.
    pub fn new(share: Arc<Share>) -> Arc<Self> {
        Arc::new(Self {
            share,
            state: Mutex::new(State {
                streams: 0,
                quiet_since: Instant::now(),
                had_a_call: false,
                asked_to_leave: false,
            }),
            leave: Notify::new(),
            is_sending: AtomicBool::new(false),
        })
    }

    /// Takes note that a call or a stream begins.
    pub fn begin(self: &Arc<Self>) -> Stream {
        let mut state = self.state();
        (state.streams, state.had_a_call) = (state.streams + 1, true);
        drop(state);
        Stream(Arc::clone(self))
    }

    /// Returns for how long the connection has had no call and no stream, or `None` if it has one. A call whose
    /// answer hasn't left the process counts.
    pub fn idle_for(&self) -> Option<Duration> {
        let state = self.state();
        let idle = state.streams == 0 && self.share.in_flight() == 0 && !self.is_sending();
        idle.then(|| state.quiet_since.elapsed())
    }

    /// Returns whether an answer has been leaving since the last call but one of this method.
    pub fn is_stuck(&self) -> bool {
        self.share.is_stuck()
    }

    /// Returns whether there are calls whose answers haven't been handed to the outbox.
    pub fn has_answers(&self) -> bool {
        self.share.in_flight() > 0
    }

    /// Takes note of whether an answer waits in the outbox until the client reads.
    pub fn note_sending(&self, is_sending: bool) {
        if self.is_sending() != is_sending {
            self.is_sending.store(is_sending, Ordering::Relaxed);
            self.state().quiet_since = Instant::now();
        }
    }

    /// Returns whether an answer waits in the outbox until the client reads.
    pub fn is_sending(&self) -> bool {
        self.is_sending.load(Ordering::Relaxed)
    }

    /// Returns whether there ever was a call or a stream.
    fn had_a_call(&self) -> bool {
        self.state().had_a_call
    }

    /// Asks the connection to leave.
    pub fn ask_to_leave(&self) {
        self.state().asked_to_leave = true;
        self.leave.notify_one();
    }

    /// Returns whether the connection was asked to leave.
    fn is_asked_to_leave(&self) -> bool {
        self.state().asked_to_leave
    }

    /// Waits until the connection is asked to leave.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.streams -= 1;
        if state.streams == 0 {
            state.quiet_since = Instant::now();
        }
    }
}

/// Returns which of some connections should make room: the one that has been idle for longest, if that is `least` or
/// more.
///
/// Connections that never had a call come first, so that nobody loses a place to those who only open connections. The
/// others are asked one at a time, and not before those that were asked have left.
pub(super) fn who_makes_room<'a>(
    connections: impl Iterator<Item = &'a Arc<Activity>>,
    least: Duration,
) -> Option<&'a Arc<Activity>> {
    let idle = connections.filter_map(|activity| Some((activity.idle_for()?, activity)));
    let (leaving, idle): (Vec<_>, Vec<_>) =
        idle.partition(|(_, activity)| activity.is_asked_to_leave());
    let (used, unused): (Vec<_>, Vec<_>) = idle.into_iter().partition(|(_, a)| a.had_a_call());
    let longest = match (unused.is_empty(), leaving.is_empty()) {
        (false, _) => unused,
        (true, true) => used,
        (true, false) => return None,
    };
    let longest = longest.into_iter().max_by_key(|(idle, _)| *idle);
    longest.and_then(|(idle, activity)| (idle >= least).then_some(activity))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::{
        access::Caller,
        rpc::{Admission, CallLimits},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn admission() -> Admission {
        Admission::new(CallLimits {
            calls: 100,
            bytes: 1024,
            largest: 1024,
            of_a_tenant: None,
        })
    }

    fn is_found(all: &[Arc<Activity>], which: usize) -> bool {
        who_makes_room(all.iter(), SECOND).is_some_and(|found| Arc::ptr_eq(found, &all[which]))
    }

    fn nobody_is_found(all: &[Arc<Activity>]) -> bool {
        who_makes_room(all.iter(), SECOND).is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_been_without_calls_for_longest_makes_room() {
        let admission = admission();
        let mut all: Vec<_> = (0..3).map(|_| Activity::new(admission.share())).collect();
        for activity in &all {
            drop(activity.begin());
        }
        assert!(nobody_is_found(&all));
        advance(SECOND).await;
        // A call that ends begins the time anew, and a stream that goes on is no idleness at all.
        drop(all[0].begin());
        let watch = all[1].begin();
        assert!(is_found(&all, 2));
        all[2].ask_to_leave();
        advance(SECOND).await;
        assert!(nobody_is_found(&all), "one is leaving");
        all.pop();
        assert!(is_found(&all, 0));
        all[0].ask_to_leave();
        all.remove(0);
        assert!(nobody_is_found(&all));
        drop(watch);
        advance(SECOND).await;
        assert!(is_found(&all, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_called_makes_room_first() {
        let admission = admission();
        let used = Activity::new(admission.share());
        drop(used.begin());
        advance(SECOND).await;
        let mut all = vec![used];
        all.extend((0..2).map(|_| Activity::new(admission.share())));
        assert!(nobody_is_found(&all), "the others will soon be idle");
        advance(SECOND).await;
        all[2].ask_to_leave();
        assert!(is_found(&all, 1));
        all[1].ask_to_leave();
        assert!(nobody_is_found(&all), "two are leaving");
        all.truncate(1);
        assert!(is_found(&all, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_answer_has_not_left_is_no_idleness() {
        let admission = admission();
        let (share, tenant) = (admission.share(), admission.tenant());
        tenant.open();
        let activity = Activity::new(Arc::clone(&share));
        let stream = activity.begin();
        let answer = share
            .admit(&tenant, &Caller::anybody("a:b".parse().unwrap()))
            .unwrap();
        drop(stream);
        advance(SECOND).await;
        assert_eq!(activity.idle_for(), None);
        drop(answer);
        activity.note_sending(true);
        assert_eq!(activity.idle_for(), None);
        activity.note_sending(false);
        assert_eq!(activity.idle_for(), Some(Duration::ZERO));
    }
}
