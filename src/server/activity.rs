//! What a connection is doing: whether it has calls or streams, and for how long it has had none.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
}

#[derive(Debug)]
struct State {
    /// How many calls and streams HTTP/2 is at work for.
    streams: usize,
    /// When the last of them ended, or when the connection began.
    quiet_since: Instant,
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
                asked_to_leave: false,
            }),
            leave: Notify::new(),
        })
    }

    /// Takes note that a call or a stream begins.
    pub fn begin(self: &Arc<Self>) -> Stream {
        self.state().streams += 1;
        Stream(Arc::clone(self))
    }

    /// Returns for how long the connection has had no call and no stream, or `None` if it has one. A call whose
    /// answer hasn't left the process counts.
    pub fn idle_for(&self) -> Option<Duration> {
        let state = self.state();
        let idle = state.streams == 0 && self.share.in_flight() == 0;
        idle.then(|| state.quiet_since.elapsed())
    }

    /// Asks the connection to leave.
    pub fn ask_to_leave(&self) {
        self.state().asked_to_leave = true;
        self.leave.notify_one();
    }

    /// Returns whether the connection was asked to leave.
    pub fn is_asked_to_leave(&self) -> bool {
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
        state.quiet_since = Instant::now();
    }
}

/// Returns which of some connections has been idle for longest, if that is `least` or more and it hasn't been asked
/// to leave yet.
pub(super) fn longest_idle<'a>(
    connections: impl Iterator<Item = &'a Arc<Activity>>,
    least: Duration,
) -> Option<&'a Arc<Activity>> {
    let idle = connections.filter(|activity| !activity.is_asked_to_leave());
    let idle = idle.filter_map(|activity| Some((activity.idle_for()?, activity)));
    let longest = idle.max_by_key(|(idle, _)| *idle);
    longest.and_then(|(idle, activity)| (idle >= least).then_some(activity))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::rpc::{Admission, CallLimits};

    const SECOND: Duration = Duration::from_secs(1);

    fn admission() -> Admission {
        let admission = Admission::new(CallLimits {
            calls: 100,
            bytes: 1024,
            largest: 1024,
        });
        admission.open();
        admission
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_been_without_calls_for_longest_is_found() {
        let admission = admission();
        let [first, second, third] = [(); 3].map(|()| Activity::new(admission.share()));
        let all = [Arc::clone(&first), Arc::clone(&second), Arc::clone(&third)];
        let found = || longest_idle(all.iter(), SECOND);
        let is_found = |which| found().is_some_and(|found| Arc::ptr_eq(found, which));
        assert!(found().is_none());
        advance(SECOND).await;
        // A stream that ends begins the time anew, and one that goes on is no idleness at all.
        drop(first.begin());
        let watch = second.begin();
        assert!(is_found(&third));
        third.ask_to_leave();
        assert!(found().is_none());
        advance(SECOND).await;
        assert!(is_found(&first));
        first.ask_to_leave();
        assert!(found().is_none());
        drop(watch);
        advance(SECOND).await;
        assert!(is_found(&second));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_answer_has_not_left_is_no_idleness() {
        let share = admission().share();
        let activity = Activity::new(Arc::clone(&share));
        let stream = activity.begin();
        let answer = share.admit().unwrap();
        drop(stream);
        advance(SECOND).await;
        assert_eq!(activity.idle_for(), None);
        drop(answer);
        assert_eq!(activity.idle_for(), Some(SECOND));
    }
}
