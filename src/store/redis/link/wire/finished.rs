//! Work that is finished even if nobody waits for it any more.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle, time::timeout};

/// How often it is looked whether work that nobody waits for can still be finished.
const LOOK: Duration = Duration::from_secs(1);

/// A future that, once begun, runs to its end. If it is dropped earlier, a task takes over.
///
/// What the work owns, such as a place among the requests at Redis, is thus held until the work is done, and not
/// only as long as its caller is interested. A task is made only where a caller leaves.
///
/// Work that is handed to the driver of a connection in the very moment in which that ends is never answered, and not refused either:
/// it lies in a channel that nobody reads. So the task gives up when the driver has ended.
#[derive(Debug)]
pub struct Finished<F: Future + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    driver: AbortHandle,
    has_begun: bool,
}

impl<F: Future + Send + 'static> Finished<F> {
    /// Returns a future that does `work`, for which `driver` has to run.
    pub fn new(work: F, driver: AbortHandle) -> Self {
        Self {
            work: Some(Box::pin(work)),
            driver,
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
        if let (Some(mut work), true, Ok(runtime)) =
            (self.work.take(), self.has_begun, Handle::try_current())
        {
            let driver = self.driver.clone();
            runtime.spawn(async move {
                while timeout(LOOK, &mut work).await.is_err() && !driver.is_finished() {}
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_its_caller_leaves() {
        let place = Arc::<AtomicBool>::default();
        let (answer, answered) = oneshot::channel::<()>();
        let held = Arc::clone(&place);
        let driver = tokio::spawn(pending::<()>()).abort_handle();
        let work = async move {
            answered.await.ok();
            held.store(true, Ordering::SeqCst);
        };
        let mut call = Finished::new(work, driver);
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

    #[tokio::test(start_paused = true)]
    async fn work_that_can_not_be_finished_holds_nothing() {
        let place = Arc::new(());
        let held = Arc::clone(&place);
        let driver = tokio::spawn(pending::<()>()).abort_handle();
        let work = async move {
            pending::<()>().await;
            drop(held);
        };
        let mut call = Finished::new(work, driver.clone());
        assert!((&mut call).now_or_never().is_none());
        drop(call);
        tokio::time::sleep(60 * LOOK).await;
        assert_eq!(Arc::strong_count(&place), 2, "the answer may come yet");
        driver.abort();
        tokio::time::sleep(2 * LOOK).await;
        assert_eq!(Arc::strong_count(&place), 1);
    }

    #[tokio::test]
    async fn work_that_never_began_is_dropped() {
        let held = Arc::new(());
        let other = Arc::clone(&held);
        let driver = tokio::spawn(pending::<()>()).abort_handle();
        drop(Finished::new(async move { drop(other) }, driver));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
