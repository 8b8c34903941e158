//! Parses a status as a client does.

use std::{fmt::Debug, time::Duration};

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::serving::SECRET;

/// The content of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    /// The fields that the `BadRequest` names.
    pub fields: Vec<String>,
    pub retry_after: Option<Duration>,
}

/// Parses a refusal, and checks what is true of all of them: the domain of the reason, and that
/// neither the message nor a detail repeats a secret.
#[track_caller]
pub fn refusal<T: Debug>(answer: Result<Response<T>, Status>) -> Refusal {
    let status = answer.expect_err("this call should be refused");
    let details = status.get_error_details();
    let shown = format!("{status:?} {details:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!status.message().is_empty(), "{status:?}");
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "tokenbroker.v1");
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone());
    for violation in violations.iter().flatten() {
        assert!(!violation.description.is_empty(), "{violation:?}");
    }
    Refusal {
        code: status.code(),
        reason: info.reason.clone(),
        fields: violations
            .into_iter()
            .flatten()
            .map(|violation| violation.field)
            .collect(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    }
}

/// Checks the code and the reason. Also checks that the client is told to retry only if a retry is
/// useful.
#[track_caller]
pub fn refused<T: Debug>(answer: Result<Response<T>, Status>, code: Code, reason: &str) {
    let found = refusal(answer);
    assert_eq!((found.code, found.reason.as_str()), (code, reason));
    let worth_repeating = matches!(
        reason,
        "STORE_UNAVAILABLE" | "MIGRATING" | "NOT_DURABLE" | "OVERLOADED"
    );
    assert_eq!(
        found.retry_after.is_some(),
        worth_repeating,
        "{reason}: RetryInfo"
    );
    assert!(found.fields.is_empty(), "{reason}: {:?}", found.fields);
}
