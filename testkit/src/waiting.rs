//! Waits for something to become true, instead of sleeping for a fixed time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Long enough for a machine under load. A test that waits this long has found a fault.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `done` returns `true`, calling it again and again.
pub async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Calls `look` again and again until it finds something, and returns that.
pub async fn found<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    found_within(PATIENCE, what, look).await
}

/// Like [`found`], with another limit on the waiting.
pub async fn found_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < patience, "waited in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
