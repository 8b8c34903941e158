//! A row: the upstream tokens of one session at one provider.

use super::{ClientId, ProviderName, Secret, SessionId, Subject, UnixTime, UserId, Version};

/// What a row is kept under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The session.
    pub session: SessionId,
    /// The provider.
    pub provider: ProviderName,
}

/// The tokens of a row, what they are bound to and how long they live (guarantees, section 2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// RFC 6749, section 1.4. Without one the row counts as expired.
    pub access_token: Option<Secret>,
    /// RFC 6749, section 1.5.
    pub refresh_token: Option<Secret>,
    /// OpenID Connect Core 1.0, section 2.
    pub id_token: Option<Secret>,
    /// RFC 6749, section 7.1; empty stands for `Bearer`.
    pub token_type: String,
    /// RFC 6749, section 3.3.
    pub scopes: Vec<String>,
    /// When the access token expires; `None`: it doesn't.
    pub expires_at: Option<UnixTime>,
    /// When the session ends; no read is refused for it.
    pub session_expires_at: Option<UnixTime>,
    /// When the refresh token expires, where the provider tells.
    pub refresh_expires_at: Option<UnixTime>,
    /// Whose row it is.
    pub user_id: Option<UserId>,
    /// The user's subject at the provider.
    pub upstream_subject: Option<Subject>,
    /// The OAuth client that the session belongs to.
    pub client_id: Option<ClientId>,
    /// When the row was written; `None` for a row that other software wrote.
    pub updated_at: Option<UnixTime>,
    /// Set when the refresh token is known to be of no use.
    pub reauth: Option<ReauthReason>,
}

/// Why the user has to log in at the provider again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReauthReason {
    /// The provider refused the refresh token for good.
    Refused,
    /// The refresh token may have been redeemed without the answer having been stored.
    InDoubt,
}

/// A row as a store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The row.
    pub row: Row,
    /// Its version.
    pub version: Version,
}

impl Row {
    /// Whether the access token is of no use at `now`.
    #[must_use]
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.access_token.is_none() || self.expires_at.is_some_and(|at| at <= now)
    }

    /// The refresh token, unless it is known to be of no use.
    #[must_use]
    pub fn usable_refresh_token(&self) -> Option<&Secret> {
        self.refresh_token
            .as_ref()
            .filter(|_| self.reauth.is_none())
    }

    /// The bytes of all text in the row, with two for each scope's framing: what the limit on a
    /// row counts. On the wire a row is at most 1.5 KiB larger, most of it the provider's name.
    #[must_use]
    pub fn size(&self) -> usize {
        let tokens = [&self.access_token, &self.refresh_token, &self.id_token];
        let tokens: usize = tokens
            .into_iter()
            .flatten()
            .map(|token| token.expose().len())
            .sum();
        let scopes: usize = self.scopes.iter().map(|scope| scope.len() + 2).sum();
        tokens
            + scopes
            + self.token_type.len()
            + self.user_id.as_ref().map_or(0, |id| id.as_str().len())
            + self
                .upstream_subject
                .as_ref()
                .map_or(0, |id| id.as_str().len())
            + self.client_id.as_ref().map_or(0, |id| id.as_str().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_expires_at_its_second_and_without_an_access_token() {
        let at = UnixTime::from_seconds(1_000).unwrap();
        let before = UnixTime::from_seconds(999).unwrap();
        let mut row = Row {
            access_token: Secret::new("a".to_owned()),
            ..Row::default()
        };
        assert!(!row.is_expired(at), "no expiry");
        row.expires_at = Some(at);
        assert!(row.is_expired(at) && !row.is_expired(before));
        row.access_token = None;
        assert!(row.is_expired(before));
    }

    #[test]
    fn a_row_prints_no_token() {
        let row = Row {
            access_token: Secret::new("gho_16C7e42F".to_owned()),
            refresh_token: Secret::new("ghr_1B4a2e77".to_owned()),
            id_token: Secret::new("eyJhbGciOi".to_owned()),
            ..Row::default()
        };
        let printed = format!("{row:?}");
        assert!(!printed.contains("gho_") && !printed.contains("ghr_") && !printed.contains("eyJ"));
    }
}
