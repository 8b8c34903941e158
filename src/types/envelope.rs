//! Sealed tokens, as a store keeps them.

use std::fmt;

use super::TokenHash;

/// The tokens of a row, sealed: a text that only the module `seal` can make and open (guarantees, section 7).
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    text: String,
    refresh_token: Option<TokenHash>,
}

impl Envelope {
    /// Takes what a store keeps as an envelope. Whether it is one is seen when it is opened.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self {
            text,
            refresh_token: None,
        }
    }

    /// Notes which refresh token is in the envelope, for the write that stores it: the record knows whether it was
    /// redeemed. No store keeps this note.
    #[must_use]
    pub fn holding(self, refresh_token: Option<TokenHash>) -> Self {
        Self {
            refresh_token,
            ..self
        }
    }

    /// Returns the text to store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns which refresh token is in it, if that was noted.
    #[must_use]
    pub fn refresh_token(&self) -> Option<TokenHash> {
        self.refresh_token
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes)", self.text.len())
    }
}
