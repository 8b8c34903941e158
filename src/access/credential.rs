//! What a caller is known by.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::types::{SpiffeId, sha256};

/// The SHA-256 of a bearer token. Two are compared in constant time, so that an answer's time tells nothing of how near a
/// guess was.
#[derive(Clone, Copy, Hash)]
#[expect(
    clippy::derived_hash_with_manual_eq,
    reason = "equal ones have equal bytes, whatever the time to compare them"
)]
pub struct TokenSha256([u8; 32]);

/// The longest bearer token, in bytes.
pub(super) const LONGEST_TOKEN: usize = 4096;

impl TokenSha256 {
    /// Returns the hash of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(sha256(token))
    }

    /// Parses 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |c: u8| {
            char::from(c)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }

    /// Whether it is the hash of nothing, or of a lone line break: the usual outcome of hashing a variable that isn't set.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        [&b""[..], b"\n", b"\r\n"]
            .iter()
            .any(|nothing| Self::of(nothing) == *self)
    }
}

impl PartialEq for TokenSha256 {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for TokenSha256 {}

/// Prints nothing of the hash: a token that can be guessed could be found by it.
impl fmt::Debug for TokenSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSha256(***)")
    }
}

/// What a caller is known by. It matches by exact value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The SPIFFE id of a certificate.
    Spiffe(SpiffeId),
    /// Another URI of a certificate, as it is written.
    Uri(String),
    /// A DNS name of a certificate, in lower case.
    Dns(String),
    /// A bearer token.
    Bearer(TokenSha256),
}

/// Names the credential, but no bearer token.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => write!(f, "a certificate with the SPIFFE id {id}"),
            Self::Uri(uri) => write!(f, "a certificate with the URI {uri}"),
            Self::Dns(name) => write!(f, "a certificate with the DNS name {name}"),
            Self::Bearer(_) => f.write_str("a bearer token"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_tokens() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let abc = TokenSha256::from_hex(hex).unwrap();
        assert_eq!(abc, TokenSha256::of(b"abc"));
        assert_eq!(TokenSha256::from_hex(&hex.to_uppercase()), Some(abc));
        assert_ne!(abc, TokenSha256::of(b"abd"));
        assert!(!format!("{abc:?}").contains("ba78"));
        for wrong in [
            "",
            "abc",
            &hex[1..],
            &format!("{hex}0"),
            &hex.replace('b', "g"),
        ] {
            assert_eq!(TokenSha256::from_hex(wrong), None, "{wrong}");
        }
        let multibyte = "é".repeat(32);
        assert_eq!(TokenSha256::from_hex(&multibyte), None);
        assert!(TokenSha256::of(b"\n").is_of_nothing() && !abc.is_of_nothing());
    }
}
