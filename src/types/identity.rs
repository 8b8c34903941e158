//! Users and their identities (guarantees, section 2.3).

use super::{IdError, ProviderName, Subject, UnixTime, UserId};

/// What an identity is found by: a provider and a subject there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey {
    /// The provider.
    pub provider: ProviderName,
    /// The subject at the provider.
    pub subject: Subject,
}

impl IdentityKey {
    /// Checks provider and subject, which may be those of a key in a store.
    ///
    /// # Errors
    /// Returns an [`IdError`] that says which rule is broken.
    pub fn check(&self) -> Result<(), IdError> {
        self.provider.check().and_then(|()| self.subject.check())
    }
}

/// The link from a provider and a subject there to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider and the subject.
    pub key: IdentityKey,
    /// The user.
    pub user: UserId,
    /// When it was linked, if that is known.
    pub linked_at: Option<UnixTime>,
    /// When a login last found the user by it, within a minute.
    pub last_used_at: Option<UnixTime>,
}

/// What is known of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// The user's id.
    pub id: UserId,
    /// When the user was made, if that is known.
    pub created_at: Option<UnixTime>,
    /// When the record was changed last, if that is known.
    pub updated_at: Option<UnixTime>,
}
