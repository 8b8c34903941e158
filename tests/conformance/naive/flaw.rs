//! What can be wrong with a store: each flaw is a mistake that an honest programmer could make.

/// A flaw. `teeth.rs` names the cases that have to notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// None: an honest store.
    None,

    // Steps that belong together come apart.
    /// `Delete` takes the row first and its places in the indexes afterwards.
    DeletesInTwoSteps,
    /// `Delete` takes the places in the indexes first and the row afterwards.
    UnindexesBeforeDeleting,
    /// `Store` writes the row first and the indexes afterwards.
    StoresInTwoSteps,
    /// `Store` takes the row out of the user's index first, and puts it in again with the new row.
    ReindexesInTwoSteps,
    /// Conditions and limits are checked, and then the row is written.
    ChecksBeforeWriting,
    /// `DeleteUser` finds the user's rows, and then deletes them, whoever's they are by then.
    DeletesUnseen,

    // Indexes lose and keep what they shouldn't.
    /// The second row of a session isn't added to the session's index.
    ForgetsTheSessionIndex,
    /// The second row of a user isn't added to the user's index.
    ForgetsTheUserIndex,
    /// A row that changes hands stays in the old user's index, which `DeleteUser` trusts.
    TrustsTheOldUsersIndex,
    /// Rows that died stay in the indexes for good.
    NeverPrunes,
    /// An index ends with the row that was stored last.
    ShortensTheIndex,

    // Ids meet.
    /// Session and provider with a colon between them are the key of a row.
    GluesIds,
    /// User ids are the same in upper and lower case.
    FoldsCase,

    // Deleting too little, too much, or at the wrong time.
    /// `DeleteUser` deletes the rows of the user's first hundred sessions.
    DeletesOnePage,
    /// `Delete` of a session leaves the last of its rows.
    LeavesOneOfASession,
    /// `Delete` deletes whatever the version.
    DeletesAnyVersion,

    // Versions and conditions.
    /// Versions count up from 1 for each row, and begin again after a delete.
    CountsVersions,
    /// A version that is asked for holds where there is no row.
    WritesOntoNothing,
    /// The row that a token was carried over from may have changed.
    IgnoresTheSource,
    /// A write that is refused has already taken the row out of its user's index.
    ChangesBeforeRefusing,

    // What is written and read.
    /// A field that the new row leaves out stays as it was.
    MergesRows,
    /// A row that is stored anew dies when the old one would have.
    KeepsTheOldLife,
    /// Rows whose access token has expired aren't returned.
    HidesExpiredRows,
    /// Reading an expired row deletes it.
    DeletesOnRead,
    /// A session with a row that can't be decoded can't be read.
    FailsForOneRow,
    /// A broker remembers what it read.
    ReadsFromACache,
}
