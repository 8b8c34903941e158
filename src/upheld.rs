//! Work in the background that has to go on, whatever happens to it.
//!
//! A task that panics ends, and nobody is told who doesn't wait for it. So each task that the broker can't do without runs
//! [`upheld`]; `tests/layering/spawned.rs` knows why each of the others may end.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::sleep;

/// How long to wait after a panic: what causes it may still be there.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what `begin` makes until that ends, and begins it again whenever it panics. `what` names it in the log.
///
/// What was done halfway stays so. `begin` has to see to it that whoever begins anew finds everything that is left to do.
pub async fn upheld<F: Future>(what: &'static str, mut begin: impl FnMut() -> F) -> F::Output {
    loop {
        if let Some(done) = unless_it_panics(what, begin()).await {
            return done;
        }
    }
}

/// Runs `work` once. If it panics, says so in the log, and returns `None` after a moment.
pub async fn unless_it_panics<T>(what: &'static str, work: impl Future<Output = T>) -> Option<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    if done.is_err() {
        tracing::error!("{what} panicked: it begins again");
        sleep(PAUSE).await;
    }
    done.ok()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_again() {
        let mut begun = 0;
        let work = upheld("the work", || {
            begun += 1;
            let is_first = begun == 1;
            async move {
                assert!(!is_first, "as the test wants");
                pending::<()>().await
            }
        });
        tokio::time::timeout(10 * PAUSE, work).await.unwrap_err();
        assert_eq!(begun, 2, "and then it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_by_itself_has_ended() {
        let mut left = 3;
        let work = upheld("the work", || {
            left -= 1;
            let is_last = left == 0;
            async move {
                assert!(is_last, "as the test wants");
                7
            }
        });
        assert_eq!(work.await, 7);
    }
}
