//! What becomes of a piece of older data.

use std::fmt;

use crate::store::redis::row::fields::NotAnObject;

/// What became of it in a run, or would in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is where it belongs: a row moved, an identity copied.
    Migrated,
    /// It replaced the row that an earlier migration made of the same session (M2).
    Superseded,
    /// A row that is newer than any migration was there, so the older one was dropped (M2).
    Dropped,
    /// An identity had been copied before.
    Present,
    /// The older row is `null`, which is none; left alone.
    Null,
    /// It was gone when it was looked at.
    Vanished,
    /// It is readable and deliberately left as it is.
    LeftAlone(Reason),
    /// It can't be migrated.
    Failed(Reason),
}

/// Why something is left alone or can't be migrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `provider_id` is a provider's name already (M3).
    Logical(String),
    /// The identity at the provider's name belongs to another user (M4).
    OtherUser,
    /// `provider_id` is a protocol type, or empty, and no mapping says which provider it is.
    Unmapped(String),
    /// The value can't be rewritten.
    Corrupt(NotAnObject),
    /// A row that no reader could decode after the migration either.
    Unreadable(String),
    /// What exists under the new key can't be decoded: which of the two counts is not for a
    /// program to say.
    UnreadableTarget(String),
    /// The identity doesn't say whose it is.
    NoUser,
    /// The identity names another subject than its key.
    OtherSubject,
    /// The key isn't UTF-8, or ends where an id should begin: no id gives this key.
    KeyIsNoId,
    /// The key holds another type of value.
    NotAString,
    /// The new key or an index holds another type of value.
    WrongType,
    /// Somebody wrote it whenever it was looked at.
    KeptChanging,
}

impl Reason {
    /// The kind of reason, without anything that was stored: for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Logical(_) => "it has a provider's name already",
            Self::OtherUser => "the provider's identity is another user's",
            Self::Unmapped(_) => "its protocol type is not mapped",
            Self::Corrupt(_) | Self::Unreadable(_) => "it is corrupt",
            Self::UnreadableTarget(_) => "what is under the new key is corrupt",
            Self::NoUser => "it names no user",
            Self::OtherSubject => "it names another subject than its key",
            Self::KeyIsNoId => "its key holds no id",
            Self::NotAString => "it is no string",
            Self::WrongType => "the new key or an index has another type",
            Self::KeptChanging => "it kept changing",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logical(name) => write!(f, "its provider_id is a provider's name: {name:?}"),
            Self::OtherUser => f.write_str("another user has this subject at the provider already"),
            Self::Unmapped(protocol) if protocol.is_empty() => f.write_str(
                "its provider_id is empty, which is mapped only where exactly one type is",
            ),
            Self::Unmapped(protocol) => {
                write!(f, "its provider_id is {protocol:?}, which is not mapped")
            }
            Self::Corrupt(what) => write!(f, "the value {what}"),
            Self::Unreadable(what) => write!(f, "the value can't be read: {what}"),
            Self::UnreadableTarget(what) => {
                write!(f, "what is under the new key can't be read: {what}")
            }
            Self::NoUser => f.write_str("the value names no user"),
            Self::OtherSubject => f.write_str("the value names another subject than the key"),
            Self::KeyIsNoId => f.write_str("the key holds no id"),
            Self::NotAString => f.write_str("the key holds no string"),
            Self::WrongType => {
                f.write_str("the new key or an index of it holds another type of value")
            }
            Self::KeptChanging => f.write_str("it changed whenever it was looked at"),
        }
    }
}
