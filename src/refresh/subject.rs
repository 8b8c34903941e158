//! Whether the answer to a refresh is about the user of the row (OpenID Connect Core 1.0, section 12.2).

use std::fmt;

use super::provider::{IdClaims, ProviderOptions, TokenAnswer};
use crate::types::{Row, Secret};

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    Issuer,
    Subject,
    Unreadable,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "the ID token is from another issuer",
            Self::Subject => "the ID token has another subject",
            Self::Unreadable => "the ID token can't be read",
        })
    }
}

/// Checks that the ID token in `answer` is about the subject that `row` names. Without an ID token, or without a subject in
/// the row, there is nothing to compare. An encrypted ID token can't be read by the broker, and is taken as it is. Of a
/// provider that isn't configured the issuer isn't known, and the subject is in the claim `sub`.
pub(super) fn check(
    row: &Row,
    answer: &TokenAnswer,
    options: Option<&ProviderOptions>,
) -> Result<(), Mismatch> {
    let (Some(expected), Some(id_token)) = (&row.upstream_subject, &answer.id_token) else {
        return Ok(());
    };
    if is_encrypted(id_token) {
        return Ok(());
    }
    let subject_claim = options.map_or("sub", |options| &options.subject_claim);
    let claims = answer.id_claims(subject_claim);
    let IdClaims { issuer, subject } = claims.ok_or(Mismatch::Unreadable)?;
    if let Some(configured) = options.and_then(|options| options.endpoints.issuer.as_ref()) {
        let configured = configured.to_string();
        // Google leaves the scheme out in some tokens.
        let plain = |issuer: &str| {
            let issuer = issuer.trim_end_matches('/');
            issuer.strip_prefix("https://").unwrap_or(issuer).to_owned()
        };
        if issuer.as_deref().map(plain) != Some(plain(&configured)) {
            return Err(Mismatch::Issuer);
        }
    }
    if subject.as_deref() != Some(expected.as_str()) {
        return Err(Mismatch::Subject);
    }
    Ok(())
}

/// Whether a token is encrypted (RFC 7516, section 3.1): it has five parts.
fn is_encrypted(token: &Secret) -> bool {
    token.expose().bytes().filter(|&byte| byte == b'.').count() == 4
}
