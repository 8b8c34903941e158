//! Bodies of requests that hold secrets.

use hyper::body::Bytes;

use crate::types::SecretBytes;

/// Returns a body. Its memory is wiped when its last clone is dropped.
pub(crate) fn secret_body(bytes: SecretBytes) -> Bytes {
    Bytes::from_owner(bytes)
}
