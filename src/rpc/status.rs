//! How errors look on the wire (guarantees, section 2.5).

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::Error;

/// The domain of every [`ErrorInfo`](tonic_types::ErrorInfo).
const DOMAIN: &str = "tokenbroker.v1";

/// Returns the status of an error: its code, its message, and the details that clients act on.
pub(super) fn from_error(error: &Error) -> Status {
    let (code, reason) = code_and_reason(error);
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    if let Error::Invalid(violations) = error {
        for violation in violations {
            details.add_bad_request_violation(&violation.field, &violation.description);
        }
    }
    if let Some(delay) = error.retry_after() {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, error.to_string(), details)
}

/// Returns the stable reason of an error, for the log.
pub(super) fn reason(error: &Error) -> &'static str {
    code_and_reason(error).1
}

/// Returns the code of an error as the gRPC specification spells it.
pub(super) fn code_name(error: &Error) -> &'static str {
    match code_and_reason(error).0 {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn code_and_reason(error: &Error) -> (Code, &'static str) {
    match error {
        Error::Invalid(_) => (Code::InvalidArgument, "INVALID_FIELD"),
        Error::RowNotFound | Error::UserRowNotFound => (Code::NotFound, "ROW_NOT_FOUND"),
        Error::RowExists => (Code::AlreadyExists, "ROW_EXISTS"),
        Error::VersionMismatch => (Code::FailedPrecondition, "VERSION_MISMATCH"),
        Error::BindingMismatch => (Code::PermissionDenied, "BINDING_MISMATCH"),
        Error::TooLarge { .. } => (Code::ResourceExhausted, "TOO_LARGE"),
        Error::TooManyProviders { .. } => (Code::ResourceExhausted, "TOO_MANY_PROVIDERS"),
        Error::RowUnreadable(_) => (Code::DataLoss, "ROW_UNREADABLE"),
        Error::IndexUnreadable => (Code::DataLoss, "INDEX_UNREADABLE"),
        Error::StoreUnavailable(_) => (Code::Unavailable, "STORE_UNAVAILABLE"),
        Error::OutcomeUnknown(_) => (Code::Unavailable, "OUTCOME_UNKNOWN"),
        Error::NotDurable(_) => (Code::Unavailable, "NOT_DURABLE"),
        Error::Migrating => (Code::Unavailable, "MIGRATING"),
        Error::Overloaded => (Code::ResourceExhausted, "OVERLOADED"),
        Error::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreFailure;

    #[test]
    fn a_status_has_details_for_clients_and_none_of_the_operators() {
        let status = from_error(&Error::invalid("session_id", "must not be empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("INVALID_FIELD", DOMAIN)
        );
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            "session_id"
        );
        assert!(details.retry_info().is_none());

        let status = from_error(&Error::StoreUnavailable(StoreFailure("NOAUTH".to_owned())));
        assert_eq!(status.message(), "the store is unavailable");
        assert!(status.get_error_details().retry_info().is_some());
    }
}
