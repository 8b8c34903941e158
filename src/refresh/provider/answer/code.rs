//! Codes of errors.

use std::fmt;

/// The codes that standards and common providers use. Others are not shown: a provider can write anything there.
const KNOWN: &[&str] = &[
    "access_denied",
    "account_inactive",
    "account_selection_required",
    "bad_client_secret",
    "bad_refresh_token",
    "consent_required",
    "expired_token",
    "incorrect_client_credentials",
    "interaction_required",
    "internal_error",
    "invalid_client",
    "invalid_client_id",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_grant_type",
    "invalid_refresh_token",
    "invalid_request",
    "invalid_resource",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "login_required",
    "rate_limited",
    "ratelimited",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "token_expired",
    "token_revoked",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_token_type",
    "use_dpop_nonce",
];

/// The code of an error, safe to log: one that is known or configured, or `other`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(String);

impl Code {
    /// Returns the code that a provider wrote, in capitals or not, if it is known.
    pub(in super::super) fn known(written: &str) -> Self {
        let known = KNOWN.iter().find(|code| code.eq_ignore_ascii_case(written));
        Self((*known.unwrap_or(&"other")).to_owned())
    }

    /// Returns a code that the configuration names.
    pub(super) fn configured(written: &str) -> Self {
        Self(written.to_owned())
    }

    /// Returns the code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
