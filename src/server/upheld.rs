//! Work in the background that has to go on, whatever happens to it.

use std::{convert::Infallible, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::sleep;

/// How long to wait after a panic: what causes it may still be there.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what `begin` makes, and begins it again whenever it panics. `what` names it in the log.
pub(super) async fn upheld<F>(what: &'static str, mut begin: impl FnMut() -> F) -> Infallible
where
    F: Future<Output = Infallible>,
{
    loop {
        match AssertUnwindSafe(begin()).catch_unwind().await {
            Ok(never) => match never {},
            Err(_) => tracing::error!("{what} panicked: it begins again"),
        }
        sleep(PAUSE).await;
    }
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
                pending().await
            }
        });
        tokio::time::timeout(10 * PAUSE, work).await.unwrap_err();
        assert_eq!(begun, 2, "and then it goes on");
    }
}
