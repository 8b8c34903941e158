//! Moments at which this process stood still, as it may on a machine under load. A client that stands still does what a
//! broker may end its connection for.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::time::sleep;

const LOOK: Duration = Duration::from_millis(50);

static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Notes when this process stands still, until the test is over.
pub async fn watch() {
    loop {
        let begun = Instant::now();
        sleep(LOOK).await;
        if begun.elapsed() > 6 * LOOK {
            *LAST.lock().unwrap() = Some(Instant::now());
        }
    }
}

/// Returns whether this process has stood still in the last seconds.
pub async fn was_lately() -> bool {
    // The watch may not have noted it yet.
    sleep(2 * LOOK).await;
    let last = *LAST.lock().unwrap();
    last.is_some_and(|last| last.elapsed() < Duration::from_secs(5))
}
