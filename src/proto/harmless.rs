//! The messages that may be printed. The build script reads this list. Every other message of
//! `tokenbroker.v1` gets a `Debug` that prints only its name.

/// The messages of `tokenbroker.v1` that contain only numbers and booleans. A message that contains an
/// id, a token, a page token or any other text is secret.
pub(crate) const HARMLESS: [&str; 9] = [
    // A version is a random number, and is useless without the session id of its row.
    "StoreResponse",
    // The number of deleted rows.
    "DeleteResponse",
    // The numbers of deleted rows and identities, and whether the user existed.
    "DeleteUserResponse",
    // A version, or the condition that there is no row.
    "Precondition",
    // How long a lease lasts.
    "RenewRefreshResponse",
    // How long to wait.
    "RefreshNotSent",
    // Whether there was something to do.
    "LinkIdentityResponse",
    "UnlinkIdentityResponse",
    // When a pending authorization expires.
    "CreateResponse",
];
