//! How errors look on the wire (guarantees, section 2.5).

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt};

use super::values;
use crate::{
    error::Error,
    proto::v1::{self, ErrorReason},
    types::ReauthReason,
};

/// The domain of every [`ErrorInfo`](tonic_types::ErrorInfo).
const DOMAIN: &str = "tokenbroker.v1";

/// What the names in [`ErrorReason`] begin with. Reasons on the wire don't.
const REASON_PREFIX: &str = "ERROR_REASON_";

/// The header that tells gRPC's own retries when to repeat a call. They don't know `RetryInfo`.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Returns the status of an error: its code, its message, and the details that clients act on.
///
/// A status is small, because clients and proxies drop errors that don't fit into a few KiB: its texts are
/// the broker's own, and [`Violations`](crate::error::Violations) bounds how many there are.
pub(super) fn from_error(error: &Error) -> Status {
    let (code, _) = code_and_reason(error);
    let (mut details, mut metadata) = (ErrorDetails::new(), HashMap::new());
    if let Error::Invalid(violations) = error {
        for violation in violations.first() {
            details.add_bad_request_violation(&violation.field, &violation.description);
        }
        metadata.insert("violations".to_owned(), violations.total().to_string());
    }
    if let Error::ReauthRequired(why) = error {
        metadata.insert("cause".to_owned(), cause(*why).to_owned());
    }
    details.set_error_info(reason(error), DOMAIN, metadata);
    let delay = error.retry_after().map(spread);
    if let Some(delay) = delay {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details_and_metadata(code, error.to_string(), details, pushback(delay))
}

/// Returns the status of a call whose work panicked. It has no details, because nothing is known of what was done, and the
/// call isn't to be repeated unseen.
pub(super) fn panicked() -> Status {
    Status::with_metadata(Code::Internal, "the broker failed", pushback(None))
}

/// Returns the failure of one part of an answer, which says what the status of the error would.
pub(super) fn failure(error: &Error) -> v1::AccessTokenFailure {
    let why = match error {
        Error::ReauthRequired(why) => Some(*why),
        _ => None,
    };
    v1::AccessTokenFailure {
        code: code_and_reason(error).0.into(),
        reason: reason(error).to_owned(),
        reauth_reason: values::reauth_reason(why).into(),
        retry_delay: error.retry_after().map(spread).map(values::span),
    }
}

/// Returns why the user has to log in again, as [`v1::ReauthReason`] spells it, without the prefix.
fn cause(why: ReauthReason) -> &'static str {
    match why {
        ReauthReason::Refused => "REFUSED",
        ReauthReason::InDoubt => "IN_DOUBT",
    }
}

/// Lengthens a delay by up to a half, at random. Clients that were refused at the same moment then don't all
/// come back at the same moment: gRPC waits for exactly as long as it is told.
fn spread(delay: Duration) -> Duration {
    let longest = delay.as_millis() * 3 / 2;
    let chosen = rand::random_range(delay.as_millis()..=longest);
    Duration::from_millis(u64::try_from(chosen).unwrap_or(u64::MAX))
}

/// Returns the header for a `delay`. Without one the header forbids to repeat the call, also to clients that
/// repeat every call with this code.
fn pushback(delay: Option<Duration>) -> MetadataMap {
    let millis = delay.and_then(|delay| i64::try_from(delay.as_millis()).ok());
    let mut metadata = MetadataMap::new();
    metadata.insert(PUSHBACK, millis.unwrap_or(-1).into());
    metadata
}

/// Returns the stable reason of an error.
pub(super) fn reason(error: &Error) -> &'static str {
    short_name(code_and_reason(error).1)
}

/// Returns how a reason is spelled on the wire.
pub(super) fn short_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(REASON_PREFIX).unwrap_or(name)
}

/// Returns the reason that is spelled so on the wire.
pub(super) fn reason_named(name: &str) -> Option<ErrorReason> {
    ErrorReason::from_str_name(&format!("{REASON_PREFIX}{name}"))
}

/// Returns the code of an error as the gRPC specification spells it.
pub(super) fn code_name(error: &Error) -> &'static str {
    name(code_and_reason(error).0)
}

/// Returns a code as the gRPC specification spells it.
pub(super) fn name(code: Code) -> &'static str {
    match code {
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

/// Returns the code and the reason of an error.
pub(super) fn code_and_reason(error: &Error) -> (Code, ErrorReason) {
    match error {
        Error::Invalid(_) => (Code::InvalidArgument, ErrorReason::InvalidField),
        Error::RowNotFound | Error::UserRowNotFound => (Code::NotFound, ErrorReason::RowNotFound),
        Error::UserNotFound => (Code::NotFound, ErrorReason::UserNotFound),
        Error::IdentityLinked => (Code::AlreadyExists, ErrorReason::IdentityLinked),
        Error::TooManyIdentities { .. } => {
            (Code::ResourceExhausted, ErrorReason::TooManyIdentities)
        }
        Error::StateNotFound => (Code::NotFound, ErrorReason::StateNotFound),
        Error::StateExists => (Code::AlreadyExists, ErrorReason::StateExists),
        Error::ProviderMismatch => (Code::FailedPrecondition, ErrorReason::ProviderMismatch),
        Error::TooManyPending { .. } => (Code::ResourceExhausted, ErrorReason::TooManyPending),
        Error::RecordUnreadable(_) => (Code::DataLoss, ErrorReason::RecordUnreadable),
        Error::RowExists => (Code::AlreadyExists, ErrorReason::RowExists),
        Error::VersionMismatch => (Code::FailedPrecondition, ErrorReason::VersionMismatch),
        Error::BindingMismatch => (Code::PermissionDenied, ErrorReason::BindingMismatch),
        Error::NotAllowed(_) => (Code::PermissionDenied, ErrorReason::NotAllowed),
        Error::NoCredentials => (Code::Unauthenticated, ErrorReason::NoCredentials),
        Error::UnknownCaller(_) => (Code::Unauthenticated, ErrorReason::UnknownCaller),
        Error::AuditUnavailable => (Code::Unavailable, ErrorReason::AuditUnavailable),
        Error::TooLarge { .. } => (Code::ResourceExhausted, ErrorReason::TooLarge),
        Error::TooManyProviders { .. } => (Code::ResourceExhausted, ErrorReason::TooManyProviders),
        Error::RowUnreadable(_) => (Code::DataLoss, ErrorReason::RowUnreadable),
        Error::KeyMissing(_) => (Code::Unavailable, ErrorReason::KeyMissing),
        Error::IndexUnreadable => (Code::DataLoss, ErrorReason::IndexUnreadable),
        Error::StoreUnavailable(_) => (Code::Unavailable, ErrorReason::StoreUnavailable),
        Error::OutcomeUnknown(_) => (Code::Unavailable, ErrorReason::OutcomeUnknown),
        Error::NotDurable(_) | Error::DoneNotDurable(_) => {
            (Code::Unavailable, ErrorReason::NotDurable)
        }
        Error::Migrating => (Code::Unavailable, ErrorReason::Migrating),
        Error::Overloaded => (Code::ResourceExhausted, ErrorReason::Overloaded),
        Error::DeadlineExceeded => (Code::DeadlineExceeded, ErrorReason::DeadlineExceeded),
        Error::NoRefreshToken => (Code::FailedPrecondition, ErrorReason::NoRefreshToken),
        Error::NotRefreshable(_) => (Code::FailedPrecondition, ErrorReason::NotRefreshable),
        Error::RefreshTokenRedeemed => {
            (Code::FailedPrecondition, ErrorReason::RefreshTokenRedeemed)
        }
        Error::ReauthRequired(_) => (Code::FailedPrecondition, ErrorReason::ReauthRequired),
        Error::ProviderNotConfigured => {
            (Code::FailedPrecondition, ErrorReason::ProviderNotConfigured)
        }
        Error::ProviderChanged => (Code::FailedPrecondition, ErrorReason::ProviderChanged),
        Error::ProviderMisconfigured(_) => {
            (Code::FailedPrecondition, ErrorReason::ProviderMisconfigured)
        }
        Error::ProviderUnavailable { .. } => (Code::Unavailable, ErrorReason::ProviderUnavailable),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::{
        error::{Damage, ProviderFailure, StoreFailure, Violations},
        proto::v1::FILE_DESCRIPTOR_SET,
        types::{KeyId, ReauthReason},
    };

    /// Returns an error of the variant after that of `error`, so that the compiler asks for each new variant.
    fn next(error: &Error) -> Option<Error> {
        let failure = || StoreFailure(String::new());
        Some(match error {
            Error::Invalid(_) => Error::RowNotFound,
            Error::RowNotFound => Error::UserRowNotFound,
            Error::UserRowNotFound => Error::UserNotFound,
            Error::UserNotFound => Error::IdentityLinked,
            Error::IdentityLinked => Error::TooManyIdentities { limit: 64 },
            Error::TooManyIdentities { .. } => Error::StateNotFound,
            Error::StateNotFound => Error::StateExists,
            Error::StateExists => Error::ProviderMismatch,
            Error::ProviderMismatch => Error::TooManyPending {
                of: "the client",
                limit: 10_000,
                unit: "authorizations",
            },
            Error::TooManyPending { .. } => Error::RecordUnreadable(Damage(String::new())),
            Error::RecordUnreadable(_) => Error::RowExists,
            Error::RowExists => Error::VersionMismatch,
            Error::VersionMismatch => Error::BindingMismatch,
            Error::BindingMismatch => Error::NotAllowed(""),
            Error::NotAllowed(_) => Error::NoCredentials,
            Error::NoCredentials => Error::UnknownCaller(""),
            Error::UnknownCaller(_) => Error::TooLarge {
                what: "the row",
                size: 2,
                limit: 1,
            },
            Error::TooLarge { .. } => Error::TooManyProviders { limit: 64 },
            Error::TooManyProviders { .. } => Error::RowUnreadable(Damage(String::new())),
            Error::RowUnreadable(_) => {
                Error::KeyMissing(KeyId::parse("k.0123456789abcdef").unwrap())
            }
            Error::KeyMissing(_) => Error::IndexUnreadable,
            Error::IndexUnreadable => Error::StoreUnavailable(failure()),
            Error::StoreUnavailable(_) => Error::OutcomeUnknown(failure()),
            Error::OutcomeUnknown(_) => Error::NotDurable(failure()),
            Error::NotDurable(_) => Error::DoneNotDurable(failure()),
            Error::DoneNotDurable(_) => Error::Migrating,
            Error::Migrating => Error::Overloaded,
            Error::Overloaded => Error::DeadlineExceeded,
            Error::DeadlineExceeded => Error::NoRefreshToken,
            Error::NoRefreshToken => Error::NotRefreshable(""),
            Error::NotRefreshable(_) => Error::RefreshTokenRedeemed,
            Error::RefreshTokenRedeemed => Error::ReauthRequired(ReauthReason::Refused),
            Error::ReauthRequired(_) => Error::ProviderNotConfigured,
            Error::ProviderNotConfigured => Error::ProviderChanged,
            Error::ProviderChanged => Error::ProviderMisconfigured(ProviderFailure(String::new())),
            Error::ProviderMisconfigured(_) => Error::ProviderUnavailable {
                failure: ProviderFailure(String::new()),
                retry_after: None,
            },
            Error::ProviderUnavailable { .. } => Error::AuditUnavailable,
            Error::AuditUnavailable => return None,
        })
    }

    fn every_error() -> impl Iterator<Item = Error> {
        let first = Error::Invalid(Violations::default());
        std::iter::successors(Some(first), next)
    }

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

    #[test]
    fn callers_that_were_refused_together_do_not_all_return_together() {
        let delays: BTreeSet<_> = (0..50)
            .map(|_| {
                let status = from_error(&Error::Overloaded);
                let retry = status.get_error_details().retry_info().cloned();
                let delay = retry.unwrap().retry_delay.unwrap();
                let told = status.metadata().get(PUSHBACK).unwrap();
                assert_eq!(told.to_str().unwrap(), delay.as_millis().to_string());
                delay
            })
            .collect();
        let after = Error::Overloaded.retry_after().unwrap();
        assert!(delays.len() > 10, "{delays:?}");
        assert!(
            delays
                .iter()
                .all(|delay| (after..=after * 3 / 2).contains(delay))
        );
    }

    /// The proto lists the reasons, each with its code. It lists all that the broker gives, and no other.
    #[test]
    fn the_proto_lists_the_reasons_that_the_broker_gives() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let (mut listed, mut comments) = (Vec::new(), BTreeMap::new());
        for file in set.file.iter().filter(|file| file.package() == DOMAIN) {
            let Some(at) = file
                .enum_type
                .iter()
                .position(|e| e.name() == "ErrorReason")
            else {
                continue;
            };
            let locations = &file.source_code_info.as_ref().unwrap().location;
            for (number, value) in file.enum_type[at].value.iter().enumerate() {
                // The path of a value in the descriptor: `enum_type` is field 5, and `value` is field 2.
                let path = [5, at, 2, number].map(|step| i32::try_from(step).unwrap());
                let comment = locations.iter().find(|location| location.path == path);
                let name = value.name().strip_prefix(REASON_PREFIX).unwrap().to_owned();
                comments.insert(
                    name.clone(),
                    comment.unwrap().leading_comments().trim().to_owned(),
                );
                listed.push(name);
            }
        }
        assert_eq!(listed.remove(0), "UNSPECIFIED");
        let given: BTreeSet<_> = every_error()
            .map(|error| reason(&error).to_owned())
            .collect();
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), given);
        for error in every_error() {
            let begins = format!("{}: ", code_name(&error));
            let comment = &comments[reason(&error)];
            assert!(
                comment.starts_with(&begins),
                "{}: {comment}",
                reason(&error)
            );
        }
    }

    /// The page has a line for each reason: reason, code, and whether to repeat the call.
    #[test]
    fn the_page_of_errors_has_each_reason() {
        let page = include_str!("../../docs/errors.md");
        let lines = page.lines().filter(|line| line.starts_with("| `"));
        let told: BTreeSet<Vec<_>> = lines
            .map(|line| line.split('|').map(str::trim).skip(1).take(3).collect())
            .collect();
        let expected: Vec<_> = every_error()
            .map(|error| {
                let repeat = if error.retry_after().is_some() {
                    "yes"
                } else {
                    "no"
                };
                [reason(&error), code_name(&error)]
                    .map(|word| format!("`{word}`"))
                    .into_iter()
                    .chain([repeat.to_owned()])
                    .collect::<Vec<_>>()
            })
            .collect();
        let expected = expected
            .iter()
            .map(|line| line.iter().map(String::as_str).collect())
            .collect();
        assert_eq!(told, expected);
    }
}
