//! Bodies of requests that hold secrets.

use hyper::body::Bytes;

use crate::types::SecretBytes;

struct Owner(SecretBytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Returns a body. Its memory is wiped when its last clone is dropped.
pub(crate) fn secret_body(bytes: SecretBytes) -> Bytes {
    Bytes::from_owner(Owner(bytes))
}
