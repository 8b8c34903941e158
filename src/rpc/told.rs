//! What the headers of an answer tell a caller: the code, and the reason of an error. They are decoded once, for all who count it,
//! write it down or trace it.

use http::Response;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;

use super::status;
use crate::proto::v1::ErrorReason;

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub code: Code,
    /// One of the broker's own reasons.
    pub reason: Option<ErrorReason>,
}

impl Told {
    /// A call whose caller has left.
    pub const CANCELLED: Self = Self {
        code: Code::Cancelled,
        reason: None,
    };

    /// Returns what an answer tells, whoever made it.
    pub fn by(response: &Response<Body>) -> Self {
        let headers = response.headers();
        // The code of a call that succeeds comes in the trailers.
        if !headers.contains_key(Status::GRPC_STATUS) {
            return Self {
                code: Code::Ok,
                reason: None,
            };
        }
        let status = Status::from_header_map(headers);
        let info = status.as_ref().and_then(StatusExt::get_details_error_info);
        Self {
            code: status.map_or(Code::Unknown, |status| status.code()),
            reason: info.and_then(|info| status::reason_named(&info.reason)),
        }
    }

    /// Whether the caller is denied what it asks for.
    pub fn is_denial(self) -> bool {
        self.reason.is_some_and(denies)
    }
}

/// Whether an answer with this reason denies a caller what it asks for. A new reason doesn't compile until that is decided.
fn denies(reason: ErrorReason) -> bool {
    match reason {
        ErrorReason::NotAllowed
        | ErrorReason::NoCredentials
        | ErrorReason::UnknownCaller
        | ErrorReason::BindingMismatch => true,
        ErrorReason::Unspecified
        | ErrorReason::InvalidField
        | ErrorReason::RowNotFound
        | ErrorReason::UserNotFound
        | ErrorReason::IdentityLinked
        | ErrorReason::TooManyIdentities
        | ErrorReason::StateNotFound
        | ErrorReason::StateExists
        | ErrorReason::ProviderMismatch
        | ErrorReason::TooManyPending
        | ErrorReason::RecordUnreadable
        | ErrorReason::RowExists
        | ErrorReason::VersionMismatch
        | ErrorReason::AuditUnavailable
        | ErrorReason::TooLarge
        | ErrorReason::TooManyProviders
        | ErrorReason::RowUnreadable
        | ErrorReason::KeyMissing
        | ErrorReason::IndexUnreadable
        | ErrorReason::StoreUnavailable
        | ErrorReason::OutcomeUnknown
        | ErrorReason::NotDurable
        | ErrorReason::Migrating
        | ErrorReason::Overloaded
        | ErrorReason::DeadlineExceeded
        | ErrorReason::NoRefreshToken
        | ErrorReason::NotRefreshable
        | ErrorReason::RefreshTokenRedeemed
        | ErrorReason::ReauthRequired
        | ErrorReason::ProviderNotConfigured
        | ErrorReason::ProviderChanged
        | ErrorReason::ProviderMisconfigured
        | ErrorReason::ProviderUnavailable => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn an_answer_tells_its_code_and_a_reason_of_the_brokers_own() {
        let own = status::from_error(&Error::NotAllowed("")).into_http();
        let told = Told::by(&own);
        assert_eq!(told.code, Code::PermissionDenied);
        assert_eq!(told.reason, Some(ErrorReason::NotAllowed));
        assert!(told.is_denial());

        let mut details = tonic_types::ErrorDetails::new();
        details.set_error_info("MADE_UP", "", std::collections::HashMap::new());
        let made_up = Status::with_error_details(Code::Aborted, "", details).into_http();
        let by_tonic = Status::unimplemented("no such compression").into_http();
        for (response, code) in [
            (made_up, Code::Aborted),
            (by_tonic, Code::Unimplemented),
            (Response::new(Body::empty()), Code::Ok),
        ] {
            let told = Told::by(&response);
            assert_eq!((told.code, told.reason), (code, None));
            assert!(!told.is_denial());
        }
    }
}
