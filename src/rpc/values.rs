//! How values of the domain look in messages.

use std::time::Duration;

use prost_types::Timestamp;

use crate::{
    proto::v1,
    types::{ReauthReason, Secret, UnixTime},
};

/// Returns a secret without copying it, or an empty text if there is none.
pub(super) fn text(secret: Option<Secret>) -> String {
    secret.map(Secret::into_exposed).unwrap_or_default()
}

/// Returns the type of an access token. A row without one has the usual type.
pub(super) fn token_type(stored: String) -> String {
    if stored.is_empty() {
        "Bearer".to_owned()
    } else {
        stored
    }
}

pub(super) fn timestamp(time: Option<UnixTime>) -> Option<Timestamp> {
    time.map(|time| Timestamp {
        seconds: time.seconds(),
        nanos: 0,
    })
}

/// Returns a span, which is at most as long as the largest valid one.
pub(super) fn span(span: Duration) -> prost_types::Duration {
    const LONGEST: i64 = 315_576_000_000;
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).map_or(LONGEST, |seconds| seconds.min(LONGEST)),
        nanos: span.subsec_nanos().cast_signed(),
    }
}

pub(super) fn reauth_reason(reason: Option<ReauthReason>) -> v1::ReauthReason {
    match reason {
        None => v1::ReauthReason::Unspecified,
        Some(ReauthReason::Refused) => v1::ReauthReason::Refused,
        Some(ReauthReason::InDoubt) => v1::ReauthReason::InDoubt,
    }
}
