//! Work that is finished even if nobody waits for it any more.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// A future that, once begun, runs to its end. If it is dropped earlier, a task takes over.
///
/// What the work owns, such as a place among the requests at Redis, is thus held until the work is done, and not
/// only as long as its caller is interested. A task is made only where a caller leaves.
#[derive(Debug)]
pub struct Finished<F: Future + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    has_begun: bool,
}

impl<F: Future + Send + 'static> Finished<F> {
    /// Returns a future that does `work`.
    pub fn new(work: F) -> Self {
        Self {
            work: Some(Box::pin(work)),
            has_begun: false,
        }
    }
}

impl<F: Future + Send + 'static> Future for Finished<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.has_begun = true;
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<F: Future + Send + 'static> Drop for Finished<F> {
    fn drop(&mut self) {
        // Without a runtime, the connection is gone too.
        if let (Some(work), true, Ok(runtime)) =
            (self.work.take(), self.has_begun, Handle::try_current())
        {
            runtime.spawn(async { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_its_caller_leaves() {
        let place = Arc::<AtomicBool>::default();
        let (answer, answered) = oneshot::channel::<()>();
        let held = Arc::clone(&place);
        let mut call = Finished::new(async move {
            answered.await.ok();
            held.store(true, Ordering::SeqCst);
        });
        assert!((&mut call).now_or_never().is_none());
        drop(call);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&place), 2, "it is still held");
        answer.send(()).unwrap();
        while Arc::strong_count(&place) > 1 {
            tokio::task::yield_now().await;
        }
        assert!(place.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn work_that_never_began_is_dropped() {
        let held = Arc::new(());
        let other = Arc::clone(&held);
        drop(Finished::new(async move { drop(other) }));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
