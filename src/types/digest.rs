//! Digests of what is secret. AWS-LC wipes the memory in which it works. Other implementations leave the last bytes of what
//! they were given on the stack.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

/// Returns the SHA-256 of `secret`.
pub fn sha256(secret: &[u8]) -> [u8; 32] {
    of(&SHA256, secret)
}

/// Returns the SHA-1 of `secret`.
pub fn sha1(secret: &[u8]) -> [u8; 20] {
    of(&SHA1_FOR_LEGACY_USE_ONLY, secret)
}

fn of<const N: usize>(algorithm: &'static Algorithm, secret: &[u8]) -> [u8; N] {
    let mut all = [0; N];
    all.copy_from_slice(digest(algorithm, secret).as_ref());
    all
}
