//! What can be wrong.

use serde::Serialize;

/// What is wrong with a key or a member of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A row isn't in its session's index.
    MissingInSessionIndex,
    /// A row isn't in its user's index.
    MissingInUserIndex,
    /// The session's index ends before a row in it.
    SessionIndexEndsEarly,
    /// The user's index ends before a row in it.
    UserIndexEndsEarly,
    /// A session's index holds a row of another session.
    RowOfAnotherSession,
    /// A user's index holds a row of another user, or of none.
    RowOfAnotherUser,
    /// A user's set of identities holds one of another user.
    IdentityOfAnotherUser,
    /// A member is no row, or identity, of this tenant.
    ForeignMember,
    /// An index is no set.
    IndexOfWrongType,
    /// A row that no reader can decode.
    UnreadableRow,
    /// A row whose `provider_id` is another provider than that of its key.
    RowOfAnotherProvider,
    /// An index holds a member whose key is gone.
    DanglingMember,
    /// Nothing that an index holds is there any more.
    IndexWithoutRows,
}

/// What a kind of finding means for the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It breaks what is guaranteed.
    Damage,
    /// Rows that expire leave it behind until a write prunes it.
    Leftover,
}

impl FindingKind {
    /// All kinds, in the order of a report.
    pub const ALL: [Self; 13] = [
        Self::MissingInSessionIndex,
        Self::MissingInUserIndex,
        Self::SessionIndexEndsEarly,
        Self::UserIndexEndsEarly,
        Self::RowOfAnotherSession,
        Self::RowOfAnotherUser,
        Self::IdentityOfAnotherUser,
        Self::ForeignMember,
        Self::IndexOfWrongType,
        Self::UnreadableRow,
        Self::RowOfAnotherProvider,
        Self::DanglingMember,
        Self::IndexWithoutRows,
    ];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingInSessionIndex => "missing-in-session-index",
            Self::MissingInUserIndex => "missing-in-user-index",
            Self::SessionIndexEndsEarly => "session-index-ends-early",
            Self::UserIndexEndsEarly => "user-index-ends-early",
            Self::RowOfAnotherSession => "row-of-another-session",
            Self::RowOfAnotherUser => "row-of-another-user",
            Self::IdentityOfAnotherUser => "identity-of-another-user",
            Self::ForeignMember => "foreign-member",
            Self::IndexOfWrongType => "index-of-wrong-type",
            Self::UnreadableRow => "unreadable-row",
            Self::RowOfAnotherProvider => "row-of-another-provider",
            Self::DanglingMember => "dangling-member",
            Self::IndexWithoutRows => "index-without-rows",
        }
    }

    /// What that means, for a person.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::MissingInSessionIndex => {
                "rows that are not in their session's index: GetAll and Delete of the session miss them"
            }
            Self::MissingInUserIndex => {
                "rows that are not in their user's index: DeleteUser, GetLatestForUser and \
                 ListUserSessions miss them"
            }
            Self::SessionIndexEndsEarly => {
                "rows that outlive their session's index: GetAll will miss them"
            }
            Self::UserIndexEndsEarly => {
                "rows that outlive their user's index: DeleteUser will miss them"
            }
            Self::RowOfAnotherSession => "rows in the index of another session",
            Self::RowOfAnotherUser => "rows in the index of a user whose they are not",
            Self::IdentityOfAnotherUser => "identities in the set of a user whose they are not",
            Self::ForeignMember => {
                "members of an index that are no rows or identities of the tenant"
            }
            Self::IndexOfWrongType => {
                "keys in the place of an index that are no sets: calls for that session or user fail"
            }
            Self::UnreadableRow => "rows that can't be decoded: Get answers DATA_LOSS",
            Self::RowOfAnotherProvider => {
                "rows whose provider_id is not the provider in their key: Get answers DATA_LOSS"
            }
            Self::DanglingMember => "members of an index whose key is gone",
            Self::IndexWithoutRows => "indexes of which no member is there any more",
        }
    }

    /// The invariant (guarantees, section 3.2) that it breaks or, as a leftover, wears out.
    #[must_use]
    pub fn invariant(self) -> &'static str {
        match self {
            Self::MissingInSessionIndex | Self::IndexWithoutRows => "I2",
            Self::MissingInUserIndex
            | Self::SessionIndexEndsEarly
            | Self::UserIndexEndsEarly
            | Self::RowOfAnotherSession
            | Self::RowOfAnotherUser
            | Self::IdentityOfAnotherUser => "I1",
            Self::ForeignMember | Self::IndexOfWrongType => "I10",
            Self::UnreadableRow | Self::RowOfAnotherProvider => "I8",
            Self::DanglingMember => "I5",
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn weight(self) -> Weight {
        match self {
            Self::DanglingMember | Self::IndexWithoutRows => Weight::Leftover,
            _ => Weight::Damage,
        }
    }

    /// What to do about it by hand. `None` if a repair mends it; else it is for a person to decide, since
    /// what is there may be all that is left of something.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::IndexOfWrongType => Some("see who wrote it, delete it, and run with --repair"),
            Self::UnreadableRow | Self::RowOfAnotherProvider => {
                Some("let the session log in again, which replaces it, or delete it with Delete")
            }
            _ => None,
        }
    }
}
