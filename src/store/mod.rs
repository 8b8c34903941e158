//! Where data is kept: one trait a noun, and a folder or file a backend.
//!
//! [`Store`] keeps rows, [`Identities`] what is known of users beside them, [`Health`] tells whether a
//! backend works. The traits are small and know no policy. A store answers with facts ([`PutOutcome`],
//! [`Error`]); what they mean to a caller is decided in [`crate::tokens`]. Each method is one atomic step,
//! except those that go through all rows of a user, which say what they promise instead.
//!
//! [`Observed`] is a decorator: it has the traits that the store behind it has. What every store must keep
//! are I1 to I10 (guarantees, section 3.2); `tests/conformance` checks it.

mod error;
mod memory;
mod observed;
pub mod redis;
mod repeat;
mod shared;

use std::{collections::BTreeMap, future::Future, time::Duration};

pub use self::{
    error::Error,
    memory::MemoryStore,
    observed::{Figures, Observed, Observer, Operation, Tally},
    repeat::until_known,
};
use crate::{
    error::Unreadable,
    types::{ProviderName, Row, RowKey, SessionId, StoredRow, UserId, Version},
};

/// A row that is read: the row, or why it can't be decoded.
pub type Decoded = Result<StoredRow, Unreadable>;

/// Keeps rows by session and provider, and finds them by session and by user.
///
/// A write that fails with [`Error::Unavailable`] or [`Error::WrongType`] has done nothing. One that fails
/// with [`Error::Unknown`], or whose future is dropped, may have done all of its step; it has never done a
/// part of it.
pub trait Store: Send + Sync + 'static {
    /// The name in logs: `memory`, `redis`.
    const NAME: &'static str;

    /// Writes a row whole if its conditions hold: row, session index and user index together.
    ///
    /// # Errors
    /// An [`Error`], as for every other method.
    fn put(&self, put: Put<'_>) -> impl Future<Output = Result<PutOutcome, Error>> + Send;

    /// Reads one row.
    fn get(&self, key: &RowKey) -> impl Future<Output = Result<Option<Decoded>, Error>> + Send;

    /// Reads all rows of a session as of one instant.
    fn get_session(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<BTreeMap<ProviderName, Decoded>, Error>> + Send;

    /// Reads the rows of `keys`, as of one instant, in the order of `keys`.
    fn get_many(
        &self,
        keys: &[RowKey],
    ) -> impl Future<Output = Result<Vec<Option<Decoded>>, Error>> + Send;

    /// The keys of the user's rows, perhaps with keys of rows that are gone or are no longer the
    /// user's. Complete for rows that stay from the beginning of the call to its end.
    fn user_rows(&self, user: &UserId) -> impl Future<Output = Result<Vec<RowKey>, Error>> + Send;

    /// Deletes one row, if it has the `version` that is named.
    fn delete(
        &self,
        key: &RowKey,
        version: Option<Version>,
    ) -> impl Future<Output = Result<DeleteOutcome, Error>> + Send;

    /// Deletes all rows of a session. Returns how many there were.
    fn delete_session(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Deletes all rows of a user. Returns how many there were. Each row goes whole, in one step, and
    /// at most once; all rows that could be read before the call are gone when it returns.
    fn delete_user_rows(&self, user: &UserId) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// Keeps what is known of users beside their rows: the user record, and the identities that lead to it.
pub trait Identities: Send + Sync + 'static {
    /// Deletes the user's identities and then the user record. A call that was interrupted is finished
    /// by the next one.
    ///
    /// # Errors
    /// An [`Error`]. What was deleted until then stays deleted.
    fn delete_user(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<DeletedIdentities, Error>> + Send;
}

/// Tells whether a backend works.
pub trait Health: Send + Sync + 'static {
    /// Asks whether the backend answers, and takes writes.
    ///
    /// # Errors
    /// Why it doesn't.
    fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A backend as brokers need it: all of the traits.
pub trait Backend: Store + Identities + Health {}

impl<S: Store + Identities + Health> Backend for S {}

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

/// What [`Identities::delete_user`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedIdentities {
    /// How many identities: links from a provider's subject to the user.
    pub count: u64,
    /// Whether there was a user record.
    pub record: bool,
}
