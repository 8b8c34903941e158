//! The flaws of a store. Each is a mistake that a programmer could make.

/// A flaw of a store. `teeth.rs` names the cases that must notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No flaw: a correct store.
    None,

    // Steps that must be atomic are separate.
    /// `Delete` deletes the row first and removes it from the indexes afterwards.
    DeletesInTwoSteps,
    /// `Delete` removes the row from the indexes first and deletes it afterwards.
    UnindexesBeforeDeleting,
    /// `Store` writes the row first and the indexes afterwards.
    StoresInTwoSteps,
    /// `Store` removes the row from the user's index first, and adds it again with the new row.
    ReindexesInTwoSteps,
    /// Conditions and limits are checked first, and the row is written afterwards.
    ChecksBeforeWriting,
    /// `DeleteUser` finds the user's rows first and deletes them afterwards, even if they belong to
    /// another user by then.
    DeletesUnseen,

    // Indexes lose members that they should keep, or keep members that they should lose.
    /// The second row of a session isn't added to the session's index.
    ForgetsTheSessionIndex,
    /// The second row of a user isn't added to the user's index.
    ForgetsTheUserIndex,
    /// A row that moves to another user stays in the old user's index, which `DeleteUser` trusts.
    TrustsTheOldUsersIndex,
    /// Expired rows stay in the indexes for ever.
    NeverPrunes,
    /// An index expires with the row that was stored last.
    ShortensTheIndex,

    // Different ids collide.
    /// The key of a row is the session and the provider, joined by a colon.
    GluesIds,
    /// User ids are equal in upper and lower case.
    FoldsCase,

    // Deleting too little, too much, or at the wrong time.
    /// `DeleteUser` deletes the rows of the user's first hundred sessions.
    DeletesOnePage,
    /// `Delete` of a session leaves the last row.
    LeavesOneOfASession,
    /// `Delete` ignores the version.
    DeletesAnyVersion,

    // Versions and conditions.
    /// Versions count up from 1 for each row, and start again after a delete.
    CountsVersions,
    /// The condition of a version holds if there is no row.
    WritesOntoNothing,
    /// The source of a carried token may change before the write.
    IgnoresTheSource,
    /// A write is sent a second time, on whatever is there then.
    WritesTwice,
    /// A delete is sent a second time.
    DeletesTwice,
    /// A refused write has already removed the row from its user's index.
    ChangesBeforeRefusing,

    // Records.
    /// A change doesn't look whether the row has changed.
    ChangesAnyRow,
    /// A change doesn't look whether the record has changed.
    ChangesAnyRecord,
    /// A change looks first and writes later.
    ChangesInTwoSteps,
    /// A record goes with its row.
    ForgetsTheRecord,
    /// A refresh token that was redeemed is stored again.
    StoresRedeemedTokens,
    /// What a change writes of the row is lost.
    ChangesOnlyTheRecord,
    /// Only the broker itself learns of attempts that end.
    KeepsEndsToItself,

    // Users and logins.
    /// A login looks for its identity first, and makes a user later.
    ResolvesInTwoSteps,
    /// An identity is found without its provider.
    ForgetsTheProvider,
    /// An identity is linked whoever had it.
    LinksAnyIdentity,
    /// The identities of a deleted user stay, and with them the user.
    KeepsIdentities,
    /// Of many callers each gets the authorization that all of them saw.
    TakesInTwoSteps,
    /// A callback for another provider leaves the authorization where it is.
    TakesNothing,
    /// A state that is taken is given to another authorization.
    CreatesOverAnother,

    // What is written and read.
    /// A field that the new row doesn't have keeps its old value.
    MergesRows,
    /// A row that is stored again expires when the old one would have.
    KeepsTheOldLife,
    /// Rows whose access token has expired aren't returned.
    HidesExpiredRows,
    /// Reading an expired row deletes it.
    DeletesOnRead,
    /// A session that has an undecodable row can't be read.
    FailsForOneRow,
    /// A broker caches what it has read.
    ReadsFromACache,
}
