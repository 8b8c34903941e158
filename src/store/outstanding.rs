//! The requests that a call has sent to the backend and that aren't answered yet.
//!
//! A caller who gives up doesn't end the work of the backend. So the work has to be counted until the backend
//! has answered, but none may be begun for a caller who is gone.

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;

tokio::task_local! {
    static CALL: Outstanding;
}

/// The outstanding requests of one call. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Outstanding(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requests: AtomicUsize,
    abandoned: AtomicBool,
    end: Option<Instant>,
}

impl Outstanding {
    /// Returns no requests yet, of a call that ends at `end` at the latest.
    #[must_use]
    pub fn until(end: Instant) -> Self {
        Self(Arc::new(State {
            end: Some(end),
            ..State::default()
        }))
    }

    /// Runs `work`, and counts its requests here. The work of tasks that it spawns isn't counted.
    pub fn of<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CALL.scope(self.clone(), work)
    }

    /// Takes note that nobody waits for the call any more. From now on it sends no request.
    pub fn abandon(&self) {
        self.0.abandoned.store(true, Ordering::Release);
    }

    /// Whether nobody waits for the call any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.abandoned.load(Ordering::Acquire)
    }

    /// Whether a request isn't answered yet.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.requests.load(Ordering::Acquire) > 0
    }
}

/// Returns when the call ends at the latest for which this is run, if there is one.
pub(super) fn end_of_call() -> Option<Instant> {
    CALL.try_with(|call| call.0.end).ok().flatten()
}

/// Counts `request` for the call that sends it, if there is one, until it is answered. If the call was
/// abandoned, the request isn't sent, and the future never ends.
pub(super) async fn counted<T>(request: impl Future<Output = T>) -> T {
    let Ok(call) = CALL.try_with(Clone::clone) else {
        return request.await;
    };
    if call.is_abandoned() {
        return pending().await;
    }
    let _request = Begun::new(call);
    request.await
}

struct Begun(Outstanding);

impl Begun {
    fn new(call: Outstanding) -> Self {
        call.0.requests.fetch_add(1, Ordering::AcqRel);
        Self(call)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_request_is_outstanding_until_it_is_answered() {
        let call = Outstanding::default();
        let (answer, answered) = oneshot::channel::<()>();
        let mut work = Box::pin(call.of(counted(answered)));
        assert!(!call.any());
        assert!(work.as_mut().now_or_never().is_none());
        assert!(call.any());
        answer.send(()).unwrap();
        assert!(work.now_or_never().is_some());
        assert!(!call.any());
    }

    #[test]
    fn who_is_gone_sends_no_further_request() {
        let call = Outstanding::default();
        let (answer, answered) = oneshot::channel::<()>();
        let mut work = Box::pin(call.of(async {
            counted(answered).await.unwrap();
            counted(async { panic!("a request of an abandoned call") }).await
        }));
        assert!(work.as_mut().now_or_never().is_none());
        call.abandon();
        assert!(call.any());
        answer.send(()).unwrap();
        assert!(work.as_mut().now_or_never().is_none());
        assert!(!call.any());
    }

    #[test]
    fn work_of_no_call_is_not_counted() {
        assert_eq!(counted(async { 7 }).now_or_never(), Some(7));
    }
}
