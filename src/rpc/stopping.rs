//! The signal that the broker is stopping.

use std::future::Future;

use tokio::sync::watch;

/// The signal that the broker is stopping, for work that would otherwise never end. Clones share the
/// signal.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Sender<bool>);

impl Stopping {
    /// Returns a signal that hasn't been given yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Gives the signal. It can't be taken back.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the signal is given. Returns at once if it has been given already.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut signal = self.0.subscribe();
        async move {
            // An error means that no sender is left, and thus that the broker is gone.
            signal.wait_for(|begun| *begun).await.map(drop).ok();
        }
    }
}

impl Default for Stopping {
    fn default() -> Self {
        Self::new()
    }
}
