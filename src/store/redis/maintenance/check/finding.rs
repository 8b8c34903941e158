//! What can be wrong, and what was found to be.

use serde::Serialize;

/// One thing that was wrong at one instant.
///
/// It names keys, and a key holds a session's id. It is for the operator who asked, never for a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The row, member or index that the finding is about, with replacements for what isn't UTF-8.
    pub key: String,
    /// The index in which the key is missing, or of which it is a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Whether the script that found it also mended it.
    pub mended: bool,
}

impl Finding {
    /// A finding about a key alone.
    pub(super) fn of(kind: FindingKind, key: &str, mended: bool) -> Self {
        Self {
            kind,
            key: key.to_owned(),
            index: None,
            mended,
        }
    }

    /// A finding about a key and an index.
    pub(super) fn within(kind: FindingKind, key: &str, index: &str, mended: bool) -> Self {
        Self {
            index: Some(index.to_owned()),
            ..Self::of(kind, key, mended)
        }
    }

    /// Returns the parts that two findings of the same thing have in common.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        let index = self.index.as_deref().unwrap_or_default();
        [self.kind.name(), &self.key, index].map(str::as_bytes)
    }
}

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
    /// A user's set of identities holds an identity of another user.
    IdentityOfAnotherUser,
    /// An index holds a member that is no row or identity of this tenant.
    ForeignMember,
    /// An index is no set.
    IndexOfWrongType,
    /// No reader can decode the row, or open its envelope.
    UnreadableRow,
    /// An identity isn't in its user's set.
    MissingInIdentitySet,
    /// An identity's user has no record.
    IdentityWithoutUser,
    /// An identity can't be read.
    UnreadableIdentity,
    /// The record of a user can't be read.
    UnreadableUser,
    /// A record of refresh tokens can't be read.
    UnreadableRecord,
    /// A row's `provider_id` isn't the provider in its key.
    RowOfAnotherProvider,
    /// A pending authorization isn't counted among those of its client or tenant.
    MissingInPendingSet,
    /// The set that counts a pending authorization ends before it.
    PendingSetEndsEarly,
    /// A place among the pending authorizations is taken, and nobody waits there.
    PlaceOfNobody,
    /// A key that counts pending authorizations, or says how large they are, holds another type of value.
    PendingSetOfWrongType,
    /// A pending authorization has no end.
    AuthorizationWithoutEnd,
    /// A pending authorization can't be read, or its payload doesn't open.
    UnreadableAuthorization,
    /// An index holds a member whose key is gone.
    DanglingMember,
    /// An index holds only members whose keys are gone.
    IndexWithoutRows,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It breaks one of the guarantees.
    Damage,
    /// Rows that expired left it behind. A later write prunes it.
    Leftover,
}

impl FindingKind {
    /// All kinds, in the order of a report.
    pub const ALL: [Self; 24] = [
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
        Self::MissingInIdentitySet,
        Self::IdentityWithoutUser,
        Self::UnreadableIdentity,
        Self::UnreadableUser,
        Self::UnreadableRecord,
        Self::RowOfAnotherProvider,
        Self::MissingInPendingSet,
        Self::PendingSetEndsEarly,
        Self::PlaceOfNobody,
        Self::PendingSetOfWrongType,
        Self::AuthorizationWithoutEnd,
        Self::UnreadableAuthorization,
        Self::DanglingMember,
        Self::IndexWithoutRows,
    ];

    /// Returns the kind's name, as in JSON.
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
            Self::MissingInIdentitySet => "missing-in-identity-set",
            Self::IdentityWithoutUser => "identity-without-user",
            Self::UnreadableIdentity => "unreadable-identity",
            Self::UnreadableUser => "unreadable-user",
            Self::UnreadableRecord => "unreadable-record",
            Self::RowOfAnotherProvider => "row-of-another-provider",
            Self::MissingInPendingSet => "missing-in-pending-set",
            Self::PendingSetEndsEarly => "pending-set-ends-early",
            Self::PlaceOfNobody => "place-of-nobody",
            Self::PendingSetOfWrongType => "pending-set-of-wrong-type",
            Self::AuthorizationWithoutEnd => "authorization-without-end",
            Self::UnreadableAuthorization => "unreadable-authorization",
            Self::DanglingMember => "dangling-member",
            Self::IndexWithoutRows => "index-without-rows",
        }
    }

    /// Returns what the kind means, for a person.
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
            Self::RowOfAnotherUser => "rows in the index of a user to whom they don't belong",
            Self::IdentityOfAnotherUser => {
                "identities in the set of a user to whom they don't belong"
            }
            Self::ForeignMember => {
                "members of an index that are no rows or identities of the tenant"
            }
            Self::IndexOfWrongType => {
                "keys in the place of an index that are no sets: calls for that session or user fail"
            }
            Self::UnreadableRow => {
                "rows that can't be decoded, or whose envelope doesn't open: Get answers DATA_LOSS"
            }
            Self::MissingInIdentitySet => {
                "identities that are not in their user's set: DeleteUser and ListIdentities miss them"
            }
            Self::IdentityWithoutUser => {
                "identities that lead to a user without a record: other software refuses these logins"
            }
            Self::UnreadableIdentity => {
                "identities that can't be decoded: ResolveUser answers DATA_LOSS, or ListIdentities misses them"
            }
            Self::UnreadableUser => {
                "records of users that can't be decoded: GetUser answers DATA_LOSS"
            }
            Self::UnreadableRecord => {
                "records of refresh tokens that can't be read: their rows aren't refreshed"
            }
            Self::RowOfAnotherProvider => {
                "rows whose provider_id is not the provider in their key: Get answers DATA_LOSS"
            }
            Self::MissingInPendingSet => {
                "pending authorizations that aren't counted: their client or tenant may have more than the limit"
            }
            Self::PendingSetEndsEarly => {
                "pending authorizations that outlive the set in which they are counted"
            }
            Self::PlaceOfNobody => {
                "places of pending authorizations that nobody has: new logins may be refused for lack of room"
            }
            Self::PendingSetOfWrongType => {
                "keys in the place of what counts pending authorizations: Create answers DATA_LOSS"
            }
            Self::AuthorizationWithoutEnd => {
                "pending authorizations, or states that were taken, without an expiry: they stay for ever"
            }
            Self::UnreadableAuthorization => {
                "pending authorizations that can't be decoded, or whose envelope doesn't open: Consume answers DATA_LOSS"
            }
            Self::DanglingMember => "members of an index whose key is gone",
            Self::IndexWithoutRows => "indexes of which every member is gone",
        }
    }

    /// Returns the invariant (guarantees, section 3.2, or 6 for a record), or the section that a finding of this kind is about. Damage breaks it. Leftovers
    /// don't, but would if they piled up.
    #[must_use]
    pub fn invariant(self) -> &'static str {
        match self {
            Self::MissingInSessionIndex | Self::IndexWithoutRows => "I2",
            Self::MissingInUserIndex
            | Self::SessionIndexEndsEarly
            | Self::UserIndexEndsEarly
            | Self::RowOfAnotherSession
            | Self::RowOfAnotherUser
            | Self::IdentityOfAnotherUser
            | Self::MissingInIdentitySet => "I1",
            Self::ForeignMember | Self::IndexOfWrongType => "I10",
            Self::UnreadableRow | Self::RowOfAnotherProvider => "I8",
            Self::IdentityWithoutUser | Self::UnreadableIdentity | Self::UnreadableUser => {
                "section 2.3"
            }
            Self::MissingInPendingSet
            | Self::PendingSetEndsEarly
            | Self::PlaceOfNobody
            | Self::PendingSetOfWrongType
            | Self::AuthorizationWithoutEnd
            | Self::UnreadableAuthorization => "section 2.4",
            Self::UnreadableRecord => "R2",
            Self::DanglingMember => "I5",
        }
    }

    /// Returns how bad a finding of this kind is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::DanglingMember | Self::IndexWithoutRows => Severity::Leftover,
            Self::MissingInSessionIndex
            | Self::MissingInUserIndex
            | Self::SessionIndexEndsEarly
            | Self::UserIndexEndsEarly
            | Self::RowOfAnotherSession
            | Self::RowOfAnotherUser
            | Self::IdentityOfAnotherUser
            | Self::ForeignMember
            | Self::IndexOfWrongType
            | Self::UnreadableRow
            | Self::MissingInIdentitySet
            | Self::IdentityWithoutUser
            | Self::UnreadableIdentity
            | Self::UnreadableUser
            | Self::UnreadableRecord
            | Self::RowOfAnotherProvider
            | Self::MissingInPendingSet
            | Self::PendingSetEndsEarly
            | Self::PlaceOfNobody
            | Self::PendingSetOfWrongType
            | Self::AuthorizationWithoutEnd
            | Self::UnreadableAuthorization => Severity::Damage,
        }
    }

    /// Returns what to do by hand, or `None` if a repair mends the damage. A repair leaves alone what may be the last
    /// copy of something.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::IndexOfWrongType => Some("see who wrote it, delete it, and run with --repair"),
            Self::UnreadableRow | Self::RowOfAnotherProvider => {
                Some("let the session log in again, which replaces it, or delete it with Delete")
            }
            // Only the identity still tells who the user was, whose record may have been lost.
            Self::IdentityWithoutUser => {
                Some("restore the record, or repeat DeleteUser; a login makes a new user")
            }
            Self::UnreadableIdentity => {
                Some("restore it, or delete it: the next login makes a new user")
            }
            Self::UnreadableUser => Some("restore it, or delete the user with DeleteUser"),
            // Only what it says of the row's present refresh token matters, and nobody can tell what that was.
            Self::UnreadableRecord => Some("let the session log in again, and then delete it"),
            // It ends by itself.
            Self::UnreadableAuthorization => {
                Some("let the user log in again; it stays until it expires")
            }
            Self::MissingInSessionIndex
            | Self::MissingInUserIndex
            | Self::SessionIndexEndsEarly
            | Self::UserIndexEndsEarly
            | Self::RowOfAnotherSession
            | Self::RowOfAnotherUser
            | Self::IdentityOfAnotherUser
            | Self::MissingInIdentitySet
            | Self::MissingInPendingSet
            | Self::PendingSetEndsEarly
            | Self::PlaceOfNobody
            | Self::PendingSetOfWrongType
            | Self::AuthorizationWithoutEnd
            | Self::ForeignMember
            | Self::DanglingMember
            | Self::IndexWithoutRows => None,
        }
    }
}
