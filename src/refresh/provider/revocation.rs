//! The revocation request (RFC 7009).

use std::time::Duration;

use super::{Code, PrepareError, Provider, Why, answer::error_code, redemption::Target};
use crate::{
    outbound::{Failure, Reply},
    types::Secret,
};

/// The type of a token that is to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenHint {
    /// A refresh token.
    RefreshToken,
    /// An access token.
    AccessToken,
}

impl TokenHint {
    fn name(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
        }
    }
}

/// What became of a revocation. To repeat it is always safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The token is revoked, or was already.
    Revoked,
    /// The provider has no revocation endpoint, or can't revoke tokens of this type.
    Unsupported,
    /// The provider will never do it as it was asked, or the settings are wrong.
    Refused(Why),
    /// It may work later.
    Failed {
        /// What went wrong.
        why: Why,
        /// How long the provider asks to wait.
        retry_after: Option<Duration>,
    },
}

impl Provider {
    /// Asks the provider once to revoke a token.
    pub async fn revoke(&self, token: &Secret, hint: TokenHint) -> Revocation {
        let failed = |why| Revocation::Failed {
            why,
            retry_after: None,
        };
        let mut ready = match self.ready(Target::Revocation).await {
            Ok(ready) => ready,
            Err(PrepareError::Unreachable(Why::NoEndpoint)) => return Revocation::Unsupported,
            Err(PrepareError::Unreachable(why)) => return failed(why),
            Err(PrepareError::Misconfigured(what)) => {
                let provider = self.options.name.as_str();
                tracing::warn!(provider, "no token can be revoked: {what}");
                return Revocation::Refused(Why::NoEndpoint);
            }
        };
        ready.hint(hint.name());
        match self.send(ready, ("token", token)).await {
            Ok(reply) => outcome(&reply),
            Err(Failure::NotSent(fault) | Failure::Unknown(fault)) => failed(fault.into()),
        }
    }
}

fn outcome(reply: &Reply) -> Revocation {
    let code = reply
        .body
        .as_ref()
        .ok()
        .and_then(|body| error_code(body, reply.is_form));
    let code = code.as_deref().map(Code::of);
    let why = code.map_or(Why::Status(reply.status), Why::Error);
    match reply.status {
        200..=299 => match why {
            Why::Error(_) => Revocation::Refused(why),
            _ => Revocation::Revoked,
        },
        408 | 425 | 429 | 499..=599 => Revocation::Failed {
            why,
            retry_after: reply.retry_after,
        },
        _ => match &why {
            Why::Error(code) if code.as_str() == "unsupported_token_type" => {
                Revocation::Unsupported
            }
            // The token is worth nothing already.
            Why::Error(code) if matches!(code.as_str(), "invalid_token" | "invalid_grant") => {
                Revocation::Revoked
            }
            _ => Revocation::Refused(why),
        },
    }
}
