//! Where data is kept. Each kind of data has a trait, and each backend has a folder or a file.
//!
//! [`Store`] keeps rows. [`Records`] keeps what the brokers know about the redemption of the rows' refresh tokens.
//! [`Identities`] keeps users and their identities, [`Authorizations`] pending authorizations. [`Health`] says whether a backend works. The traits are small and contain
//! no policy. A store answers with facts
//! ([`PutOutcome`], [`Error`]), and [`crate::tokens`] decides what they mean to a caller. Each method is one
//! atomic step, except those that process all rows of a user. These document what they guarantee instead.
//!
//! [`Outstanding`] counts the requests of a call that the backend hasn't answered.
//!
//! [`Observed`] and [`Sealed`] are decorators: they implement the traits that the store behind them implements. Every store must
//! keep the invariants of the guarantees, section 3.2. `tests/conformance` checks that, and `tests/redis` checks
//! those that only Redis can break.

mod authorizations;
mod decorate;
mod ends;
mod error;
mod identities;
mod memory;
mod observed;
mod outstanding;
mod records;
pub mod redis;
mod repeat;
mod sealed;
mod shared;

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures_util::future::join_all;

use self::{authorizations::TAKEN_FOR, identities::USED_WITHIN};
pub use self::{
    authorizations::{
        Authorizations, CreateOutcome, NewAuthorization, PendingLimit, PendingLimits,
    },
    decorate::{Decorate, Undecorated},
    error::Error,
    identities::{
        DeletedIdentities, Identities, LinkOutcome, NewIdentity, Resolved, UnlinkOutcome,
    },
    memory::MemoryStore,
    observed::{Failure, Figures, Observed, Observer, Operation, Tally},
    outstanding::Outstanding,
    records::{Change, Held, RECORD_OUTLIVES_ROW, Records, RowChange, Seen, Stamp},
    repeat::{Attempts, until_known},
    sealed::{Sealed, Sealing},
};
use crate::{
    error::Unreadable,
    types::{Lineage, ProviderName, Row, RowKey, SessionId, StoredRow, UserId, Version},
};

/// The outcome of reading a row: the row, or why it can't be decoded.
pub type Decoded = Result<StoredRow, Unreadable>;

/// A store of rows, which are found by session and provider, by session, and by user.
///
/// A write that fails with [`Error::Unavailable`] or [`Error::WrongType`] has done nothing. A write that
/// fails with [`Error::Unknown`], or whose future is dropped, may have done all of its step, but never only a
/// part.
pub trait Store: Send + Sync + 'static {
    /// The name of the backend in logs: `memory` or `redis`.
    const NAME: &'static str;

    /// Writes a whole row if its conditions hold: the row, the session index and the user index in one step.
    ///
    /// If the row already has the version of `put`, this write has been done before. Unless its condition is
    /// [`Condition::Always`], it then answers [`PutOutcome::Written`] and changes nothing. A caller whose answer was
    /// lost can find out in this way.
    ///
    /// # Errors
    /// Returns an [`Error`], as every other method does.
    fn put(&self, put: Put<'_>) -> impl Future<Output = Result<PutOutcome, Error>> + Send;

    /// Reads one row.
    fn get(&self, key: &RowKey) -> impl Future<Output = Result<Option<Decoded>, Error>> + Send;

    /// Reads all rows of a session as of one instant.
    fn get_session(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<BTreeMap<ProviderName, Decoded>, Error>> + Send;

    /// Reads the rows of `keys` as of one instant. The answers are in the order of `keys`.
    fn get_many(
        &self,
        keys: &[RowKey],
    ) -> impl Future<Output = Result<Vec<Option<Decoded>>, Error>> + Send;

    /// Returns the keys of at most `at_most` of the user's rows, from `position` on. `None` is the beginning. There
    /// may be fewer keys, or none, although more rows follow. What this costs depends on `at_most` and not on how
    /// many rows the user has.
    ///
    /// Who calls this from the beginning until nothing follows gets the key of each row that exists all that time.
    /// A key may come twice if rows were stored or deleted, or if another server took over meanwhile. Some of the
    /// keys may belong to rows that don't exist any more, or are no longer the user's. A position that isn't one
    /// of this store's counts as the beginning.
    fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> impl Future<Output = Result<UserRowKeys, Error>> + Send;

    /// Deletes one row. If `version` is given, deletes the row only if it has this version.
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

    /// Deletes all rows of a user. Each row is deleted whole, in one step. All rows that could be read before the call
    /// are gone when it returns, in the data of the lineage that it returns. Within one lineage each row is deleted at
    /// most once.
    fn delete_user_rows(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<DeletedRows, Error>> + Send;
}

/// How long [`Health::ready`] waits for the servers of a backend, so that it can say why they aren't there.
pub const READY_WITHIN: Duration = Duration::from_millis(500);

/// A backend that can say whether it works.
pub trait Health: Send + Sync + 'static {
    /// Checks that the backend answers and accepts writes.
    ///
    /// # Errors
    /// Returns an [`Error`] that says why it doesn't.
    fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Checks this for the backends of several tenants. Those that share a server ask it once.
    fn ready_each(all: &[&Self]) -> impl Future<Output = Vec<Result<(), Error>>> + Send {
        join_all(all.iter().map(|backend| backend.ready()))
    }

    /// Returns what the process's way to the backend has counted. Returns `None` if the backend is in the process.
    fn link(&self) -> Option<LinkFigures> {
        None
    }
}

/// A backend as the broker needs it, with all of the traits.
pub trait FullStore: Store + Records + Identities + Authorizations + Health {}

impl<S: Store + Records + Identities + Authorizations + Health> FullStore for S {}

/// A position among the rows of a user. Only the store that made it knows what it means. It tells nobody else
/// anything about the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(Vec<u8>);

impl Position {
    /// Returns the position that consists of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The keys of some of a user's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRowKeys {
    /// The keys.
    pub keys: Vec<RowKey>,
    /// Where the rest begins. `None` if nothing follows.
    pub next: Option<Position>,
}

/// A write and its conditions.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The key of the row.
    pub key: &'a RowKey,
    /// The row.
    pub row: &'a Row,
    /// The version of the new row.
    pub version: Version,
    /// How long the row is kept. `None` means until it is deleted.
    pub keep_for: Option<Duration>,
    /// What must be true of the row that is replaced.
    pub condition: Condition,
    /// Another row of the same tenant that must still have this version: the row that a refresh token was
    /// carried forward from.
    pub source: Option<(&'a RowKey, Version)>,
    /// How many rows the session may have, including this one.
    pub max_providers: usize,
}

/// What must be true of a row for it to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: any row is replaced, and there may be none.
    Always,
    /// There is no row.
    Absent,
    /// The row has this version.
    Version(Version),
}

/// The outcome of a [`Put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The row is written.
    Written,
    /// Nothing was written: [`Condition::Absent`] was asked for, and there is a row.
    Exists,
    /// Nothing was written: the row has another version, or there is none.
    VersionMismatch,
    /// Nothing was written: the conditions on the row hold, but the row of [`Put::source`] has another version, or
    /// there is none.
    SourceChanged,
    /// Nothing was written: the session already has [`Put::max_providers`] rows.
    TooManyProviders,
    /// Nothing was written: all conditions hold, but the record says that the row's refresh token was redeemed already.
    Redeemed,
}

/// The outcome of [`Store::delete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The row was deleted.
    Deleted,
    /// There was no row.
    Absent,
    /// Nothing was deleted: the row has another version.
    VersionMismatch,
}

/// What [`Store::delete_user_rows`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedRows {
    /// How many rows. One that a failover brought back, and that was removed again, counts twice.
    pub count: u64,
    /// The data in which no row is left.
    pub lineage: Lineage,
}

/// What the process's way to a backend has counted since the start. All tenants share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFigures {
    /// Connections that were opened.
    pub connected: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    /// How often a server began to be used as a primary, the first ones included: a failover adds one.
    pub terms: u64,
    /// Writes that wait for replicas now, or for their turn to.
    pub waiting: usize,
}
