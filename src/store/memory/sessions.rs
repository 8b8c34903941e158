//! The rows of each session, found by a hash of the session's id.

use std::{fmt, sync::Arc};

use hashbrown::HashTable;

use super::kept::Kept;

/// How many tables share the sessions. A table that is full moves to twice the room in one go. In a single table
/// that would hold up all callers for as long as moving a million sessions takes.
const TABLES: usize = 1 << 10;

/// A row among those of its session.
pub(super) struct Entry {
    /// The hash of the provider's name.
    pub(super) provider: u64,
    /// The number of the row, which it keeps when it is stored again for the same user.
    pub(super) number: u64,
    pub(super) kept: Arc<Kept>,
}

/// What finds a row: its key, and the hashes of both parts. Callers make the hashes, always with the same key.
#[derive(Clone, Copy)]
pub(super) struct HashedKey<'a> {
    pub(super) session_hash: u64,
    pub(super) provider_hash: u64,
    pub(super) session: &'a str,
    pub(super) provider: &'a str,
}

/// The sessions that have rows.
pub(super) struct Sessions(Box<[HashTable<Session>]>);

struct Session {
    hash: u64,
    /// The rows, in no order. There is at least one.
    rows: Vec<Entry>,
}

impl Session {
    fn is(&self, hash: u64, id: &str) -> bool {
        self.hash == hash
            && self
                .rows
                .first()
                .is_some_and(|row| row.kept.session() == id)
    }

    /// Returns where the row is. It looks only at rows whose hashes fit, because others would have to be fetched from
    /// far away.
    fn find(&self, key: HashedKey<'_>) -> Option<usize> {
        if self.hash != key.session_hash {
            return None;
        }
        self.rows.iter().position(|row| {
            row.provider == key.provider_hash
                && row.kept.provider() == key.provider
                && row.kept.session() == key.session
        })
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self((0..TABLES).map(|_| HashTable::new()).collect())
    }
}

impl Sessions {
    /// Returns the rows of a session, in no order.
    pub(super) fn rows(&self, hash: u64, id: &str) -> &[Entry] {
        let session = self.0[table(hash)].find(hash, |session| session.is(hash, id));
        session.map_or(&[], |session| &session.rows)
    }

    /// Returns a row.
    pub(super) fn row(&self, key: HashedKey<'_>) -> Option<&Entry> {
        let mut at = 0;
        let session = self.0[table(key.session_hash)].find(key.session_hash, |session| {
            session.find(key).inspect(|&row| at = row).is_some()
        });
        session?.rows.get(at)
    }

    /// Adds a row. There must be none with its key.
    pub(super) fn insert(&mut self, hash: u64, row: Entry) {
        let table = &mut self.0[table(hash)];
        let id = row.kept.session();
        if let Some(session) = table.find_mut(hash, |session| session.is(hash, id)) {
            session.rows.reserve_exact(1);
            session.rows.push(row);
            return;
        }
        let rows = vec![row];
        table.insert_unique(hash, Session { hash, rows }, |session| session.hash);
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, key: HashedKey<'_>) -> Option<Entry> {
        let table = &mut self.0[table(key.session_hash)];
        let has_it = |session: &Session| session.find(key).is_some();
        let mut found = table.find_entry(key.session_hash, has_it).ok()?;
        let session = found.get_mut();
        let row = session.rows.swap_remove(session.find(key)?);
        if session.rows.is_empty() {
            found.remove();
            // Room for many sessions that are gone is given back, but not so eagerly that it is soon needed again.
            if table.len() < table.capacity() / 8 {
                table.shrink_to(2 * table.len(), |session| session.hash);
            }
        }
        Some(row)
    }
}

/// Returns the number of the table of a hash. The table itself uses the hash's first and last bits.
fn table(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.iter().flatten().flat_map(|session| &session.rows);
        let rows = rows.map(|row| (row.number, &row.kept));
        f.debug_map().entries(rows).finish()
    }
}
