//! Where rows are kept: one trait, and a folder or file a backend.
//!
//! The trait is small and knows no policy. A store answers with facts ([`PutOutcome`]); what they
//! mean to a caller is decided in [`crate::tokens`]. Each method is one atomic step, except
//! [`Store::delete_user`] and [`Store::user_rows`], which say what they promise instead.
//!
//! What every store must keep are I1 to I10 (guarantees, section 3.2); `tests/conformance` checks it.

mod memory;
pub mod redis;

use std::{collections::BTreeMap, future::Future, time::Duration};

pub use memory::MemoryStore;

use crate::{
    error::{Error, Unreadable},
    types::{ProviderName, Row, RowKey, SessionId, StoredRow, UserId, Version},
};

/// A row that is read: the row, or why it can't be decoded.
pub type Decoded = Result<StoredRow, Unreadable>;

/// Keeps rows by session and provider, and finds them by session and by user.
///
/// A method that fails has either done nothing or, where the store stopped answering, may have
/// done all of its step; it has never done a part of it. A dropped future counts as the latter.
pub trait Store: Send + Sync + 'static {
    /// The name in logs: `memory`, `redis`.
    const NAME: &'static str;

    /// Writes a row whole if its conditions hold: row, session index and user index together.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], as for every other method.
    fn put(&self, put: Put<'_>) -> impl Future<Output = Result<PutOutcome, Error>> + Send;

    /// Reads one row.
    fn get(&self, key: &RowKey) -> impl Future<Output = Result<Option<Decoded>, Error>> + Send;

    /// Reads all rows of a session as of one instant.
    fn get_session(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<BTreeMap<ProviderName, Decoded>, Error>> + Send;

    /// Deletes one row, if it has the `version` that is named.
    fn delete(
        &self,
        key: &RowKey,
        version: Option<Version>,
    ) -> impl Future<Output = Result<DeleteOutcome, Error>> + Send;

    /// Deletes all rows of a session; answers how many.
    fn delete_session(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Deletes what is known of a user: rows, identities, the user record. Each row goes whole, in
    /// one step, and at most once; all rows that could be read before the call are gone when it
    /// returns.
    fn delete_user(&self, user: &UserId)
    -> impl Future<Output = Result<DeletedUser, Error>> + Send;

    /// The keys of the user's rows, perhaps with keys of rows that are gone or are no longer the
    /// user's. Complete for rows that stay from the beginning of the call to its end.
    fn user_rows(&self, user: &UserId) -> impl Future<Output = Result<Vec<RowKey>, Error>> + Send;

    /// Reads the rows of `keys`, as of one instant, in the order of `keys`.
    fn get_many(
        &self,
        keys: &[RowKey],
    ) -> impl Future<Output = Result<Vec<Option<Decoded>>, Error>> + Send;

    /// Asks whether the store works: answers, and takes writes.
    fn check(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A write and its conditions.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Where to.
    pub key: &'a RowKey,
    /// What.
    pub row: &'a Row,
    /// The version that the row gets.
    pub version: Version,
    /// How long the row is kept; `None`: until it is deleted.
    pub keep_for: Option<Duration>,
    /// What has to hold of the row that is replaced.
    pub condition: Condition,
    /// Another row that must still have this version: the one that a refresh token was carried
    /// over from. In the same tenant.
    pub source: Option<(&'a RowKey, Version)>,
    /// How many rows the session may have, this one included.
    pub max_providers: usize,
}

/// What has to hold of a row for it to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Anything.
    Always,
    /// There is none.
    Absent,
    /// It has this version.
    Version(Version),
}

/// What became of a [`Put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The row is written.
    Written,
    /// Nothing was written: there is a row, and [`Condition::Absent`] was asked for.
    Exists,
    /// Nothing was written: the row has another version, or there is none.
    VersionMismatch,
    /// Nothing was written: [`Put::source`] has another version, or is gone.
    SourceChanged,
    /// Nothing was written: the session has [`Put::max_providers`] rows already.
    TooManyProviders,
}

/// What became of a [`Store::delete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The row is gone.
    Deleted,
    /// There was none.
    Absent,
    /// Nothing was deleted: the row has another version.
    VersionMismatch,
}

/// What [`Store::delete_user`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedUser {
    /// Rows.
    pub rows: u64,
    /// Links from a provider's subject to the user.
    pub identities: u64,
    /// Whether there was a user record, an identity or a row.
    pub existed: bool,
}
