//! A row: the upstream tokens of one session at one provider.

use super::{
    ClientId, Envelope, IdError, Origin, ProviderName, Secret, SessionId, Subject, TokenHash,
    UnixTime, UserId, Version,
};

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The session.
    pub session: SessionId,
    /// The provider.
    pub provider: ProviderName,
}

impl RowKey {
    /// Checks the ids, which may be those of a key in a store.
    ///
    /// # Errors
    /// Returns an [`IdError`] that says which rule is broken.
    pub fn check(&self) -> Result<(), IdError> {
        self.session.check().and_then(|()| self.provider.check())
    }
}

/// The tokens of one session at one provider, what they are bound to, and how long they live
/// (guarantees, section 2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The access token (RFC 6749, section 1.4). A row without one counts as expired.
    pub access_token: Option<Secret>,
    /// The refresh token (RFC 6749, section 1.5).
    pub refresh_token: Option<Secret>,
    /// The ID token (OpenID Connect Core 1.0, section 2).
    pub id_token: Option<Secret>,
    /// The type of the access token (RFC 6749, section 7.1). Empty means `Bearer`.
    pub token_type: String,
    /// The scopes of the access token (RFC 6749, section 3.3).
    pub scopes: Vec<String>,
    /// When the access token expires. `None` means never.
    pub expires_at: Option<UnixTime>,
    /// When the session ends. The broker still returns the row afterwards.
    pub session_expires_at: Option<UnixTime>,
    /// When the refresh token expires, if the provider says so.
    pub refresh_expires_at: Option<UnixTime>,
    /// The user that the row belongs to.
    pub user_id: Option<UserId>,
    /// The user's subject at the provider.
    pub upstream_subject: Option<Subject>,
    /// The OAuth client that the session belongs to.
    pub client_id: Option<ClientId>,
    /// When the row was written. `None` if other software wrote it.
    pub updated_at: Option<UnixTime>,
    /// Why the refresh token can't be used any more, if the broker knows that.
    pub reauth: Option<ReauthReason>,
    /// Where the refresh token was obtained. `None` if the provider wasn't configured when the row was stored.
    pub origin: Option<Origin>,
    /// The three tokens, sealed. Only between the decorator that seals and the store behind it: such a row has no token in
    /// its other fields.
    pub sealed: Option<Envelope>,
}

/// Why the user has to log in at the provider again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReauthReason {
    /// The provider refused the refresh token for good.
    Refused,
    /// The refresh token may have been redeemed, and the provider's answer wasn't stored.
    InDoubt,
}

/// A row and its version, as a store keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The row.
    pub row: Row,
    /// Its version.
    pub version: Version,
}

impl Row {
    /// Whether the access token is missing, or has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.access_token.is_none() || self.expires_at.is_some_and(|at| at <= now)
    }

    /// Returns the refresh token, unless [`Row::reauth`] says that it can't be used any more.
    #[must_use]
    pub fn usable_refresh_token(&self) -> Option<&Secret> {
        self.refresh_token
            .as_ref()
            .filter(|_| self.reauth.is_none())
    }

    /// Returns which refresh token the row has, also if it is sealed.
    #[must_use]
    pub fn refresh_token_hash(&self) -> Option<TokenHash> {
        match &self.refresh_token {
            Some(token) => Some(TokenHash::of(token)),
            None => self.sealed.as_ref()?.refresh_token(),
        }
    }

    /// Whether the row has both an envelope and a token beside it, which no broker writes.
    #[must_use]
    pub fn is_half_sealed(&self) -> bool {
        let tokens = [&self.access_token, &self.refresh_token, &self.id_token];
        self.sealed.is_some() && tokens.into_iter().any(Option::is_some)
    }

    /// Whether the access token is of use only together with a key of the client (RFC 9449).
    #[must_use]
    pub fn is_sender_constrained(&self) -> bool {
        ["dpop", "pop", "mac"]
            .iter()
            .any(|bound| self.token_type.eq_ignore_ascii_case(bound))
    }

    /// Whether the refresh token hasn't expired at `now`, as far as is known.
    #[must_use]
    pub fn refresh_token_is_live(&self, now: UnixTime) -> bool {
        self.refresh_expires_at.is_none_or(|at| at > now)
    }

    /// Returns the size that is compared with the limit on a row: the bytes of all texts in it, and two more
    /// for each scope. A row in a gRPC message is at most 1.5 KiB larger, mostly because of the provider's
    /// name.
    #[must_use]
    pub fn size(&self) -> usize {
        // Without `..`: a new field doesn't compile until it is counted here, or needn't be.
        let Self {
            access_token,
            refresh_token,
            id_token,
            token_type,
            scopes,
            expires_at: _,
            session_expires_at: _,
            refresh_expires_at: _,
            user_id,
            upstream_subject,
            client_id,
            updated_at: _,
            reauth: _,
            origin,
            sealed,
        } = self;
        let tokens = [access_token, refresh_token, id_token];
        let tokens: usize = tokens
            .into_iter()
            .flatten()
            .map(|token| token.expose().len())
            .sum();
        let scopes: usize = scopes.iter().map(|scope| scope.len() + 2).sum();
        tokens
            + scopes
            + token_type.len()
            + user_id.as_ref().map_or(0, |id| id.as_str().len())
            + upstream_subject.as_ref().map_or(0, |id| id.as_str().len())
            + client_id.as_ref().map_or(0, |id| id.as_str().len())
            + origin.as_ref().map_or(0, Origin::size)
            + sealed.as_ref().map_or(0, |sealed| sealed.as_str().len())
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
