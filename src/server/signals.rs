//! The signals that the process gets.

use tokio::signal::unix::{SignalKind, signal};

use super::ServeError;

/// Returns a future that completes when SIGTERM or SIGINT arrives. From this call on, these signals
/// don't kill the process, and neither does SIGHUP.
pub(super) fn terminated() -> Result<impl Future<Output = ()>, ServeError> {
    let on = |kind| signal(kind).map_err(ServeError::Signals);
    let (mut terminate, mut interrupt) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let mut hangup = on(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => tracing::info!(
                    "SIGHUP: nothing to do; passwords and certificates for Redis are read at each \
                     connect, and other settings take effect with a restart"
                ),
            }
        }
    })
}
