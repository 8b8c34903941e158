//! Parses a status as a client does.

use std::{fmt::Debug, time::Duration};

use tonic::{Code, Response, Status, codegen::http::HeaderMap};
use tonic_types::StatusExt;

use crate::serving::SECRET;

/// How large an error may be, all headers and trailers together, as [`size_of`] counts them. Clients and
/// proxies accept 4 KiB and more.
pub const LARGEST_ERROR: usize = 2 * 1024;

/// Returns the size of headers as HTTP/2 counts it: 32 bytes for each, and its name and value.
pub fn size_of(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32);
    sizes.sum()
}

/// The content of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    /// Why the user has to log in again.
    pub cause: Option<String>,
    /// The fields that the `BadRequest` names.
    pub fields: Vec<String>,
    pub retry_after: Option<Duration>,
}

/// Parses a refusal, and checks what is true of all of them: the domain of the reason, that neither the
/// message nor a detail repeats a secret, that clients can read it, and that gRPC's own retries are told the
/// same as callers that read `RetryInfo`.
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
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).expect("headers");
    let size = size_of(&headers);
    assert!(size <= LARGEST_ERROR, "{size} bytes: {status:?}");
    let retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    let pushback = pushback.unwrap_or_else(|| panic!("no pushback: {status:?}"));
    let expected = retry_after.map_or("-1".to_owned(), |delay| delay.as_millis().to_string());
    assert_eq!(
        pushback.as_encoded_bytes(),
        expected.as_bytes(),
        "{status:?}"
    );
    Refusal {
        code: status.code(),
        reason: info.reason.clone(),
        cause: info.metadata.get("cause").cloned(),
        fields: violations
            .into_iter()
            .flatten()
            .map(|violation| violation.field)
            .collect(),
        retry_after,
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
        "STORE_UNAVAILABLE"
            | "MIGRATING"
            | "KEY_MISSING"
            | "NOT_DURABLE"
            | "OVERLOADED"
            | "PROVIDER_UNAVAILABLE"
            | "AUDIT_UNAVAILABLE"
    );
    assert_eq!(
        found.retry_after.is_some(),
        worth_repeating,
        "{reason}: RetryInfo"
    );
    assert!(found.fields.is_empty(), "{reason}: {:?}", found.fields);
}
