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
        wipe(&mut self.0);
    }
}

impl ZeroizeOnDrop for Secret {}

/// Wipes a text, all at once. `String::zeroize` writes one byte after the other.
pub(super) fn wipe(text: &mut String) {
    text.as_mut_str().zeroize();
}

/// Bytes with tokens in them. `Debug` doesn't print them, and their memory is wiped when they are dropped. Memory that
/// a growing buffer left behind isn't.
#[derive(Clone, Default, PartialEq, Eq)]
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
        // A vector would wipe itself one byte after the other.
        self.0.as_mut_slice().zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

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
