//! What the brokers know about the redemption of refresh tokens, beside the rows.

use std::{future::Future, time::Duration};

use super::{Decoded, Error};
use crate::types::{
    AttemptId, Lineage, Record, RowKey, SecretBytes, StoreTime, StoredRow, TokenHash, Version,
};

/// How long a record stays after its row is gone. An answer or a request that comes later finds nothing.
pub const RECORD_OUTLIVES_ROW: Duration = Duration::from_secs(600);

/// A store of [`Record`]s. A record and its row change in one step.
///
/// A record lives as long as its row and [`RECORD_OUTLIVES_ROW`] more, however the row ends.
pub trait Records: Send + Sync + 'static {
    /// Reads a row, its record, and the store's clock, as of one instant.
    ///
    /// # Errors
    /// Returns an [`Error`], as every other method does.
    fn look(&self, key: &RowKey) -> impl Future<Output = Result<Seen, Error>> + Send;

    /// Writes a record, and a row if `change` has one, if neither has changed since they were `seen`. Returns whether
    /// they are written.
    ///
    /// A call whose answer was lost may be repeated: if the first one was done, the second one writes neither, because
    /// what was seen has changed. Where writes wait for replicas, a call that is answered waits for what was seen as well.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] also if `change` has a row, and there was none that could be read: no change brings
    /// one back.
    fn change(
        &self,
        key: &RowKey,
        seen: &Seen,
        change: Change<'_>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Returns a future that is ready when the end of `attempt` is announced, here or on another broker. It may also be
    /// ready without a reason. It may miss the end if it was announced before this call, or if the connection to the
    /// store breaks. So who waits calls this, then looks, then waits, and looks again from time to time.
    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static;
}

/// A row and its record, as they were seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The row.
    pub row: Option<Decoded>,
    /// The record. It is empty if there is none.
    pub record: Record,
    /// Whether other software may still use the tenant's refresh tokens: it is in its grace period (guarantees, section 5, M7).
    pub in_grace: bool,
    /// The time of the store's clock at that instant.
    pub at: StoreTime,
    /// Which data was looked at. `None`: the store can't tell, or didn't say because no token's lease is over, so that nobody
    /// needs to know.
    pub lineage: Option<Lineage>,
    /// What tells whether the row or the record has changed since. Only the store that made it knows what it means.
    pub stamp: Stamp,
}

impl Seen {
    /// Returns the row, if there is one that can be read.
    #[must_use]
    pub fn stored(&self) -> Option<&StoredRow> {
        self.row.as_ref()?.as_ref().ok()
    }
}

/// What tells whether a row or its record has changed.
#[derive(Clone, Debug, Default)]
pub struct Stamp {
    /// What the row's key holds.
    pub row: Held,
    /// A number that the record gets with each change. 0: there was no record.
    pub record: u64,
    /// The refresh tokens that the record has entries of, where the store keeps each entry for itself.
    pub tokens: Vec<TokenHash>,
}

/// What a key holds.
#[derive(Clone, Debug, Default)]
pub enum Held {
    /// Nothing.
    #[default]
    Nothing,
    /// These bytes, where the store keeps rows as bytes.
    Bytes(SecretBytes),
    /// A row of this version, where the store keeps rows as they are.
    Version(Version),
    /// A value of another type.
    Other,
}

/// A change of a record.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The record as it will be.
    pub record: &'a Record,
    /// The row as it will be. `None`: it stays as it is.
    pub row: Option<RowChange<'a>>,
    /// The attempt that ends with this change, which is announced.
    pub ends: Option<AttemptId>,
}

impl<'a> Change<'a> {
    /// Returns a change of a record and, if there is a `row`, of that, which is kept as long as before.
    #[must_use]
    pub fn new(record: &'a Record, row: Option<&'a StoredRow>) -> Self {
        Self {
            record,
            row: row.map(|stored| RowChange {
                stored,
                keep_for: None,
            }),
            ends: None,
        }
    }

    /// Announces the end of an attempt with the change.
    #[must_use]
    pub fn ending(self, attempt: AttemptId) -> Self {
        Self {
            ends: Some(attempt),
            ..self
        }
    }
}

/// A change of a row. Fields that the broker doesn't know stay as they are, and so does the user that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct RowChange<'a> {
    /// The row as it will be, and its version.
    pub stored: &'a StoredRow,
    /// How long it is kept from now on. `None` inside: until it is deleted. `None`: as long as before.
    pub keep_for: Option<Option<Duration>>,
}

impl Stamp {
    /// Draws the number of a record that is changed. It never comes back.
    #[must_use]
    pub fn drawn() -> u64 {
        Version::random().number()
    }
}
