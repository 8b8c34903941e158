//! The signals that the process gets.

use futures_util::{Stream, stream};
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
                    "SIGHUP: the files of TLS are read again; passwords and certificates for Redis are read at each \
                     connect, and other settings take effect with a restart"
                ),
            }
        }
    })
}

/// Returns a stream that tells of each SIGHUP.
pub(super) fn hangups() -> Result<impl Stream<Item = ()> + Send, ServeError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
    Ok(stream::poll_fn(move |cx| hangup.poll_recv(cx)))
}
