//! Keys that a key management service holds the key of.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

use crate::types::{KeyName, SecretBytes};

/// A service that encrypts and decrypts master keys, and never gives its own key away: HashiCorp Vault, for one.
///
/// An implementation sends one request a call, bounded in time and size. Who calls repeats it. What is encrypted is always a
/// master key of [`MasterKey::BYTES`](super::MasterKey::BYTES).
pub trait Kms: fmt::Debug + Send + Sync {
    /// Returns what the wrapped keys of this service begin with, up to the first colon.
    fn scheme(&self) -> &'static str;

    /// Returns how long a process that starts asks again and again, until the service answers.
    fn patience(&self) -> Duration;

    /// Returns the key that is wrapped.
    ///
    /// # Errors
    /// Returns a [`KmsError`].
    fn decrypt<'a>(&'a self, key: &'a WrappedKey) -> BoxFuture<'a, Result<SecretBytes, KmsError>>;

    /// Makes a new master key, and returns it wrapped. The key itself doesn't leave the service, where that is possible.
    ///
    /// # Errors
    /// Returns a [`KmsError`].
    fn generate(&self) -> BoxFuture<'_, Result<WrappedKey, KmsError>>;

    /// Wraps a master key.
    ///
    /// # Errors
    /// Returns a [`KmsError`].
    fn encrypt<'a>(&'a self, key: &'a SecretBytes) -> BoxFuture<'a, Result<WrappedKey, KmsError>>;

    /// Wraps a wrapped key again, with the latest version of the service's key.
    ///
    /// # Errors
    /// Returns a [`KmsError`].
    fn encrypt_again<'a>(
        &'a self,
        key: &'a WrappedKey,
    ) -> BoxFuture<'a, Result<WrappedKey, KmsError>>;
}

/// Why a service did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct KmsError {
    /// What is wrong, and what an operator may do. Quotes neither the service's answer nor a secret.
    pub what: String,
    /// Whether it may pass without a change of the key file or the settings, and soon.
    pub may_pass: bool,
}

impl KmsError {
    /// Returns an error that may pass.
    #[must_use]
    pub fn passing(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            may_pass: true,
        }
    }

    /// Returns an error that stays until somebody changes something.
    #[must_use]
    pub fn lasting(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            may_pass: false,
        }
    }
}

/// A master key as a service wrapped it, such as `vault:v1:...`. It is of no use without the service.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey(String);

impl WrappedKey {
    /// The longest one, in bytes.
    const LONGEST: usize = 4096;

    /// Returns the key with this text, which has no blanks: a scheme, a colon, and what the service made. Returns `None` if it
    /// hasn't that form.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_text = !rest.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_scheme && is_text && text.len() <= Self::LONGEST).then(|| Self(text.to_owned()))
    }

    /// Returns which service wrapped it.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// Returns the line of a key file with this key, without the break at its end.
    #[must_use]
    pub fn line(&self, name: &KeyName) -> String {
        format!("{name} {}", self.0)
    }

    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({}, ***)", self.scheme())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_says_who_wrapped_it() {
        let key = WrappedKey::new("vault:v1:aGVsbG8=").unwrap();
        assert_eq!(key.scheme(), "vault");
        assert_eq!(format!("{key:?}"), "WrappedKey(vault, ***)");
        let long = format!("vault:{}", "a".repeat(WrappedKey::LONGEST));
        for text in [
            "",
            "vault",
            ":v1",
            "vault:",
            "va ult:v1",
            "vault:v 1",
            "vault:ä",
            &long,
        ] {
            assert!(WrappedKey::new(text).is_none(), "{text}");
        }
    }
}
