//! The errors that end a broker.

use std::io;

use crate::audit::AuditError;

/// Why a broker ended before it was told to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The broker can't listen on the address that a setting names.
    #[error("{setting}: can't serve on {address}: {error}")]
    Listen {
        /// The name of the setting.
        setting: &'static str,
        /// Its address, or its Unix socket.
        address: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The broker can't wait for the signals that tell it to end.
    #[error("can't wait for signals: {0}")]
    Signals(#[source] io::Error),
    /// The system has no threads for the connections.
    #[error("can't start a thread for connections: {0}")]
    Workers(#[source] io::Error),
    /// A thread for the connections has ended by a fault of the broker. The line of the panic says where. What could be finished
    /// was.
    #[error("a thread for connections has ended by a fault of the broker")]
    WorkerEnded,
    /// The audit trail can't be begun. No call was served.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// A setting doesn't fit the system or the Redis that the broker found. The text begins with its name. No call was
    /// served.
    #[error("{0}")]
    Misconfigured(String),
    /// Rows can't be migrated, and `allow-unmigrated` isn't set (guarantees, section 5, M6). No call
    /// was served.
    #[error(
        "{0} rows or identities of older software can't be migrated, and no call would find them; \
         `token-broker migrate --dry-run` with the same settings names them, and allow-unmigrated starts \
         the broker without them"
    )]
    Unmigrated(usize),
    /// There are sealing keys, and the tenant is in its grace period (guarantees, section 7).
    #[error(
        "seal-keys: the tenant is in its grace period, in which nothing is sealed, because other software would take \
         sealed rows for rows without tokens: end the period with `token-broker migrate --finish`, or start without \
         seal-keys"
    )]
    SealedInGrace,
    /// The sealing keys are wrapped, and stay so. No call was served.
    #[error("seal-keys: {0}; nothing is served without the keys")]
    Wrapped(String),
    /// What makes the data of a tenant ready has panicked. The line of the panic says where.
    #[error("the data of a tenant can't be made ready: that panicked")]
    Panicked,
    /// Reflection can't be assembled.
    #[error("can't serve reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}
