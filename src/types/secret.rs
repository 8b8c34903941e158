//! A token in memory.

use std::fmt;

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
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

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
