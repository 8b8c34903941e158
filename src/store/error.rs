//! Why a store didn't do its work. Each variant says one thing about a write: whether it was applied.

use crate::error::{self, Damage, StoreFailure};

/// Why a store didn't do its work.
///
/// The texts are for the log. They name commands and error codes, but never a key or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store can't be reached, or refuses to work. A write was not applied.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The answer to a write was lost. The write may have been applied or not.
    #[error("the outcome of a write is unknown: {0}")]
    Unknown(String),
    /// A write was applied, but too few replicas have it. A failover may undo it.
    #[error("a write is on too few replicas: {0}")]
    NotDurable(String),
    /// The key of an index holds another type of value. A write was not applied.
    #[error("an index holds a value of another type")]
    WrongType,
    /// The record of a row's refresh tokens can't be read. Nobody redeems them. No write was made.
    #[error("{RECORD_UNREADABLE}")]
    RecordUnreadable,
}

const RECORD_UNREADABLE: &str = "a record of refresh tokens (broker:refresh:*) can't be read";

impl Error {
    /// Returns an [`Error::Unavailable`]. `detail` must not contain a key or a value.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable(detail.into())
    }

    /// Returns what the operator needs to know.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Unavailable(detail) | Self::Unknown(detail) | Self::NotDurable(detail) => detail,
            Self::WrongType => "an index holds a value of another type",
            Self::RecordUnreadable => RECORD_UNREADABLE,
        }
    }
}

/// Maps a store's failure to one that callers see. This is the only place that does so.
impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(detail) => Self::StoreUnavailable(StoreFailure(detail)),
            Error::Unknown(detail) => Self::OutcomeUnknown(StoreFailure(detail)),
            Error::NotDurable(detail) => Self::NotDurable(StoreFailure(detail)),
            Error::WrongType => Self::IndexUnreadable,
            Error::RecordUnreadable => Self::RecordUnreadable(Damage(RECORD_UNREADABLE.to_owned())),
        }
    }
}
