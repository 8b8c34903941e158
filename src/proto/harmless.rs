//! The messages that may be printed. The build script reads this list: every other message of
//! `tokenbroker.v1` has a `Debug` that prints its name only.

/// Messages of `tokenbroker.v1` with nothing in them but numbers and truth values. An id, a token or
/// a page token makes a message secret, and so does any other text.
pub(crate) const HARMLESS: [&str; 4] = [
    // A version is drawn at random, and worth nothing without its row's session id.
    "StoreResponse",
    // How many rows are gone.
    "DeleteResponse",
    // The same of a user, and whether anything was known of them.
    "DeleteUserResponse",
    // A version, or that there is none.
    "Precondition",
];
