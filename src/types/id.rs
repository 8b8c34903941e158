//! Ids: opaque, non-empty UTF-8 of at most 512 bytes without control characters.

use std::fmt;

use zeroize::ZeroizeOnDrop;

use super::{text::has_control, wipe};

/// The length of the longest id, in bytes.
pub const MAX_ID_BYTES: usize = 512;

/// Why a string is not an id. The message never quotes the string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The string is empty.
    #[error("must not be empty")]
    Empty,
    /// The string is longer than [`MAX_ID_BYTES`].
    #[error("must be at most 512 bytes long")]
    TooLong,
    /// The string contains a control character (Unicode category Cc).
    #[error("must not contain control characters")]
    ControlCharacter,
}

fn validate(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong);
    }
    if has_control(id) {
        return Err(IdError::ControlCharacter);
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes `id` if it follows the rules.
            ///
            /// # Errors
            /// Returns an [`IdError`] that says which rule is broken.
            pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
                // From here on it is wiped if it has to be.
                let id = Self(id.into());
                validate(&id.0)?;
                Ok(id)
            }

            /// Takes an id that other software stored. Returns `None` if it is empty. The other rules don't apply, so that
            /// what breaks them can still be found and deleted. What is served has to pass [`Self::check`].
            #[must_use]
            pub fn from_stored(id: String) -> Option<Self> {
                (!id.is_empty()).then_some(Self(id))
            }

            /// Checks the rules of [`Self::new`], which a stored id may break.
            ///
            /// # Errors
            /// Returns an [`IdError`] that says which rule is broken.
            pub fn check(&self) -> Result<(), IdError> {
                validate(&self.0)
            }

            /// Returns the id as a string.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

macro_rules! printable {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

macro_rules! secret {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                wipe(std::mem::take(&mut self.0).into_bytes());
            }
        }

        impl ZeroizeOnDrop for $name {}
    )*};
}

id_type! {
    /// One login of one user at one auth server: the `tsid` claim of its JWT. A caller that knows it can ask
    /// for the session's tokens. Therefore `Debug` doesn't print it, and its memory is wiped when it is
    /// dropped.
    SessionId
}
id_type! {
    /// The `state` of an authorization request (RFC 6749, section 4.1.1). Whoever knows it can take the pending authorization.
    /// So it is as secret as a [`SessionId`].
    State
}
id_type! {
    /// The *logical* name of an upstream identity provider (`github`, `corp-okta`). It is never the protocol
    /// type.
    ProviderName
}
id_type! {
    /// The auth server's own stable id of a user (its `sub`).
    UserId
}
id_type! {
    /// The provider's subject of a user.
    Subject
}
id_type! {
    /// The OAuth client at the auth server that a session belongs to.
    ClientId
}
printable!(ProviderName, UserId, Subject, ClientId);

impl UserId {
    /// Draws the id of a new user: a random UUID (RFC 9562, version 4), which nobody can guess and no other user has.
    #[must_use]
    pub fn random() -> Self {
        const VERSION: u128 = 4 << 76;
        const VARIANT: u128 = 2 << 62;
        let drawn = rand::random::<u128>() & !(0xf << 76) & !(3 << 62) | VERSION | VARIANT;
        let hex = format!("{drawn:032x}");
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        Self(parts.join("-"))
    }
}

secret!(SessionId, State);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules() {
        assert_eq!(UserId::new(""), Err(IdError::Empty));
        assert_eq!(UserId::new("x".repeat(513)), Err(IdError::TooLong));
        assert_eq!(UserId::new("a\u{85}b"), Err(IdError::ControlCharacter));
        assert_eq!(UserId::new("a\nb"), Err(IdError::ControlCharacter));
        for odd in ["a:b", "{x}", "a b", "%41", "пользователь", &"x".repeat(512)] {
            assert_eq!(UserId::new(odd).map(|id| id.as_str() == odd), Ok(true));
        }
    }

    #[test]
    fn the_id_of_a_new_user_is_a_random_uuid() {
        let drawn: std::collections::HashSet<_> = (0..1_000).map(|_| UserId::random()).collect();
        assert_eq!(drawn.len(), 1_000);
        for id in drawn {
            let id = id.as_str();
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(&id[14..15], "4");
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        }
    }

    #[test]
    fn a_session_id_does_not_print() {
        let session = SessionId::new("tsid-1234").unwrap();
        assert!(!format!("{session:?}").contains("1234"));
    }
}
