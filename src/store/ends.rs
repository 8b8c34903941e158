//! Who waits in this process for attempts to end.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use crate::types::{AttemptId, lock};

/// Leads from attempts to those who wait for their ends. It holds nothing but who waits now. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Ends(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    last_number: AtomicU64,
}

/// Who waits, by attempt and by a number of the waiter's own. A sender that is dropped wakes its receiver.
type Waiting = HashMap<AttemptId, BTreeMap<u64, oneshot::Sender<()>>>;

/// One who waits. It is forgotten when this is dropped.
struct Waiter {
    inner: Arc<Inner>,
    attempt: AttemptId,
    number: u64,
}

impl Ends {
    /// Returns a future that is ready when the end of `attempt` is told from now on.
    pub(super) fn of(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        let number = self.0.last_number.fetch_add(1, Ordering::Relaxed);
        let (sender, told) = oneshot::channel();
        let mut waiting = lock(&self.0.waiting);
        waiting.entry(attempt).or_default().insert(number, sender);
        drop(waiting);
        let waiter = Waiter {
            inner: Arc::clone(&self.0),
            attempt,
            number,
        };
        async move {
            let _waiter = waiter;
            // An error tells that the sender was dropped.
            let _ = told.await;
        }
    }

    /// Wakes all who wait for an attempt.
    pub(super) fn tell(&self, attempt: AttemptId) {
        let told = lock(&self.0.waiting).remove(&attempt);
        drop(told);
    }

    /// Wakes everyone.
    pub(super) fn tell_all(&self) {
        let told = std::mem::take(&mut *lock(&self.0.waiting));
        drop(told);
    }
}

impl Inner {}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = lock(&self.inner.waiting);
        if let Some(others) = waiting.get_mut(&self.attempt) {
            others.remove(&self.number);
            if others.is_empty() {
                waiting.remove(&self.attempt);
            }
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.0.waiting).len();
        f.debug_struct("Ends").field("waiting", &waiting).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_and_forgotten() {
        let ends = Ends::default();
        let [first, second] = [AttemptId::from_number(1), AttemptId::from_number(2)];
        ends.tell(first);
        let (one, two, other) = (ends.of(first), ends.of(first), ends.of(second));
        // What is told before anybody has polled counts.
        ends.tell(first);
        one.await;
        two.await;
        let mut other = Box::pin(other);
        assert!((&mut other).now_or_never().is_none());
        let dropped = ends.of(second);
        drop(dropped);
        ends.tell_all();
        other.await;
        drop(ends.of(first));
        assert!(lock(&ends.0.waiting).is_empty());
    }
}
