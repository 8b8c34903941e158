//! A Unix socket whose process is gone.

use std::path::Path;

use tokio::net::UnixSocket;

/// Leaves a socket at `path` as a process that was killed does. Nobody has ever listened on it: what listens may be open a moment
/// longer than its owner, in a process that another test starts.
pub fn leave_stale_socket(path: impl AsRef<Path>) {
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(path).unwrap();
}
