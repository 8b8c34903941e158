//! The tokens of an answer.

use std::time::Duration;

use super::IdClaims;
use crate::types::Secret;

/// The tokens that a provider answered. What the answer doesn't have is `None`, and the caller merges it with the row
/// (guarantees, section 6, R5). Spans count from before the sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: Secret,
    /// The next refresh token. `None`: the old one stays valid.
    pub refresh_token: Option<Secret>,
    /// The ID token.
    pub id_token: Option<Secret>,
    /// The type of the access token.
    pub token_type: Option<String>,
    /// The scopes that were granted.
    pub scopes: Option<Vec<String>>,
    /// How long the access token lives.
    pub expires_in: Option<Duration>,
    /// How long the refresh token lives.
    pub refresh_expires_in: Option<Duration>,
}

impl TokenAnswer {
    /// Returns who the ID token is about, by the claim that holds the subject. `None` if there is no ID token, or if it
    /// can't be read, as when it is encrypted. Its signature isn't checked.
    #[must_use]
    pub fn id_claims(&self, subject_claim: &str) -> Option<IdClaims> {
        IdClaims::of(self.id_token.as_ref()?, subject_claim)
    }
}
