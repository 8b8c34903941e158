//! Waiting for something to become true, instead of sleeping and hoping.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Long enough for a machine under load; whoever waits this long has found a fault.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `done`, which it asks again and again.
pub async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until there is what it looks for again and again, and gives it.
pub async fn found<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    found_within(PATIENCE, what, look).await
}

/// The same, with a patience of its own.
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
