//! The signals that the process gets.

use futures_util::{Stream, stream};
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::ServeError;

/// Tells each SIGHUP. Several that come together count as one.
#[derive(Clone, Debug)]
pub(super) struct Hangups(watch::Receiver<()>);

impl Hangups {
    /// Makes them of what is told through a channel.
    #[cfg(test)]
    pub fn of(told: watch::Receiver<()>) -> Self {
        Self(told)
    }

    /// Waits for the next SIGHUP.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // No more will come.
            std::future::pending::<()>().await;
        }
    }

    /// Returns a stream that tells of each.
    pub fn stream(self) -> impl Stream<Item = ()> + Send {
        stream::unfold(self, |mut hangups| async move {
            hangups.next().await;
            Some(((), hangups))
        })
    }
}

/// Returns a future that completes when SIGTERM or SIGINT arrives, and what tells of SIGHUP meanwhile. From this call on,
/// these signals don't kill the process.
pub(super) fn terminated() -> Result<(impl Future<Output = ()>, Hangups), ServeError> {
    let on = |kind| signal(kind).map_err(ServeError::Signals);
    let (mut terminate, mut interrupt) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let mut hangup = on(SignalKind::hangup())?;
    // A file that may not grow any more is an error of the write, and doesn't end the process.
    drop(on(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    let (tell, told) = watch::channel(());
    let terminated = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => {
                    tracing::info!(
                        "SIGHUP: the policy, the files of TLS and sealing keys are read again, audit files are reopened; passwords and certificates for Redis \
                         are read at each connect, and other settings take effect with a restart"
                    );
                    tell.send_replace(());
                }
            }
        }
    };
    Ok((terminated, Hangups(told)))
}
