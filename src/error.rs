//! What can go wrong, in one type. Each error has two faces: `Display` is what the caller may see
//! (guarantees, section 2.5: never a token, a session id or a key), and [`Error::operator_detail`] is
//! for the log.

use std::time::Duration;

/// A field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, as in `tokens.expires_at`.
    pub field: String,
    /// The rule, without the offending value.
    pub description: String,
}

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed; each violation names a field.
    #[error("{}", describe(.0))]
    Invalid(Vec<FieldViolation>),
    /// There is no such row.
    #[error("there is no row for this session and provider")]
    RowNotFound,
    /// The user has no row at the provider.
    #[error("the user has no row at this provider")]
    UserRowNotFound,
    /// `must_not_exist` was asked for and there is a row.
    #[error("a row exists for this session and provider")]
    RowExists,
    /// The row has another version than the caller named, or is gone.
    #[error("the row is not the version that was named")]
    VersionMismatch,
    /// The row is bound to another user, client or subject.
    #[error("the row is not bound to what the caller expects")]
    BindingMismatch,
    /// A token or row is above its limit.
    #[error("{what} is {size} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large: a field's path or "the row".
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The session has as many providers as it may have.
    #[error("the session has {limit} providers already, the limit")]
    TooManyProviders {
        /// The limit.
        limit: usize,
    },
    /// The row exists and can't be decoded.
    #[error("the row exists but can't be read")]
    RowUnreadable(#[source] Unreadable),
    /// A key in the place of an index of the session or user holds something else. An operator has to
    /// look: `token-broker check` names it.
    #[error("an index of the session or user can't be read")]
    IndexUnreadable,
    /// The store can't be reached, or refuses to work. Safe to retry.
    #[error("the store is unavailable")]
    StoreUnavailable(StoreFailure),
    /// A write isn't on as many replicas as it has to be. It may be lost, or not. Safe to retry.
    #[error("the write is not on as many replicas as it has to be")]
    NotDurable(StoreFailure),
    /// The startup migration is still running. Safe to retry.
    #[error("the broker is starting and migrates older data")]
    Migrating,
    /// As many calls as allowed are in flight. Safe to retry.
    #[error("too many calls are in flight")]
    Overloaded,
    /// The caller's deadline, or the broker's limit for a call, passed.
    #[error("the deadline passed before the call was done")]
    DeadlineExceeded,
}

/// Why a stored row can't be decoded. Never carries the row's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// What the store answered instead of working. For the log only.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StoreFailure(pub String);

impl Error {
    /// A violation of one field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// What the operator needs to know beyond the message, and the caller must not.
    #[must_use]
    pub fn operator_detail(&self) -> Option<&str> {
        match self {
            Self::StoreUnavailable(failure) | Self::NotDurable(failure) => Some(&failure.0),
            Self::RowUnreadable(unreadable) => Some(&unreadable.0),
            _ => None,
        }
    }

    /// How long a caller should wait before it repeats the call; `None` if repeating is no use.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded => Some(Duration::from_millis(100)),
            Self::StoreUnavailable(_) | Self::NotDurable(_) => Some(Duration::from_millis(500)),
            Self::Migrating => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

fn describe(violations: &[FieldViolation]) -> String {
    let described: Vec<String> = violations
        .iter()
        .map(|v| format!("{}: {}", v.field, v.description))
        .collect();
    described.join("; ")
}
