//! The word that the broker stops.

use std::future::Future;

use tokio::sync::watch;

/// Tells everything that would go on for ever that the broker stops. Clones share the word.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Sender<bool>);

impl Stopping {
    /// The broker doesn't stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Gives the word. It can't be taken back.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the word is given; returns at once if it was.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut word = self.0.subscribe();
        async move {
            // An error says that nobody is left who could give the word: the broker is gone.
            word.wait_for(|begun| *begun).await.map(drop).ok();
        }
    }
}

impl Default for Stopping {
    fn default() -> Self {
        Self::new()
    }
}
