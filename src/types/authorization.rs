//! Pending authorizations (guarantees, section 2.4).

use std::fmt;

use super::{ClientId, Envelope, ProviderName, SecretBytes, SessionId, UnixTime, UserId};

/// An authorization request that waits for the provider's callback.
#[derive(Clone, Debug)]
pub struct PendingAuthorization {
    /// Tells it from others that had, or will have, the same state.
    pub id: Nonce,
    /// The provider that the user was sent to.
    pub provider: ProviderName,
    /// The session that the tokens will belong to.
    pub session: SessionId,
    /// The OAuth client at the auth server.
    pub client: ClientId,
    /// The user, if it is known already.
    pub user: Option<UserId>,
    /// When it expires, to the second. The store drops it to the millisecond.
    pub expires_at: UnixTime,
    /// What the auth server keeps.
    pub payload: Payload,
}

/// What an auth server keeps in a pending authorization.
#[derive(Clone, Debug)]
pub enum Payload {
    /// As the auth server gave it.
    Plain(SecretBytes),
    /// Sealed.
    Sealed(Envelope),
}

/// A random number that is drawn for one use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(u128);

impl Nonce {
    /// Draws one.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads what [`fmt::Display`] writes: 32 digits.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex
            .then(|| u128::from_str_radix(digits, 16).ok().map(Self))
            .flatten()
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(***)")
    }
}
