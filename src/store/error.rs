//! What a store answers instead of doing its work: few variants, each with one meaning for a write.

use crate::error::{self, StoreFailure};

/// Why a store didn't do what it was asked.
///
/// The texts are for the log. They name commands and codes, never a key or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store can't be reached, or refuses to work. A write was not applied.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The answer to a write was lost. The write was applied, or it was not.
    #[error("the outcome of a write is unknown: {0}")]
    Unknown(String),
    /// A write was applied, and too few replicas have it. A failover may undo it.
    #[error("a write is on too few replicas: {0}")]
    NotDurable(String),
    /// A key that should hold an index holds a value of another type. A write was not applied.
    #[error("an index holds a value of another type")]
    WrongType,
}

impl Error {
    /// The store can't do its work because of `detail`, which must not contain a key or a value.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable(detail.into())
    }

    /// What the operator needs to know.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Unavailable(detail) | Self::Unknown(detail) | Self::NotDurable(detail) => detail,
            Self::WrongType => "an index holds a value of another type",
        }
    }
}

/// The one place where a store's failure becomes one that callers see.
impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(detail) | Error::Unknown(detail) => {
                Self::StoreUnavailable(StoreFailure(detail))
            }
            Error::NotDurable(detail) => Self::NotDurable(StoreFailure(detail)),
            Error::WrongType => Self::IndexUnreadable,
        }
    }
}
