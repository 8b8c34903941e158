//! The rows and their indexes. Each method leaves them in agreement.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    kept::Kept,
    records::KeptRecords,
    sessions::{Entry, HashedKey, Sessions},
};
use crate::{
    store::{Condition, Position, Put, PutOutcome, RowChange},
    types::{Row, RowKey, SessionId, UserId},
};

/// Rows that were taken out. They are dropped, and so wiped, when the lock is released.
pub(super) type Removed = Vec<Arc<Kept>>;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Callers choose ids, so the hash has a key that they don't know.
    hasher: RandomState,
    sessions: Sessions,
    /// The rows of users by the hash of the user's id and the row's number.
    users: BTreeMap<(u64, u64), Arc<Kept>>,
    /// The rows that expire, by when they do and their numbers.
    expirations: BTreeMap<(Instant, u64), Arc<Kept>>,
    pub(super) records: KeptRecords,
    /// The last number that was given to a row.
    last_number: u64,
    /// Tells the positions of this store from those of another one. It is drawn with the first row.
    id: u64,
}

impl State {
    /// Takes out at most `at_most` rows and records that have expired. Returns the rows, and whether others are left.
    pub(super) fn take_expired(&mut self, now: Instant, at_most: usize) -> (Removed, bool) {
        let mut removed = Removed::new();
        while let Some((&(at, _), kept)) = self.expirations.first_key_value()
            && at <= now
        {
            if removed.len() == at_most {
                return (removed, true);
            }
            let kept = Arc::clone(kept);
            self.take(&kept);
            removed.push(kept);
        }
        let more = self.records.drop_expired(now, at_most - removed.len());
        (removed, more)
    }

    /// Returns a row, unless it has expired.
    pub(super) fn row(&self, key: &RowKey, now: Instant) -> Option<&Arc<Kept>> {
        let kept = self.row_or_expired(key)?;
        kept.is_live(now).then_some(kept)
    }

    fn row_or_expired(&self, key: &RowKey) -> Option<&Arc<Kept>> {
        let row = self.hashed(key.session.as_str(), key.provider.as_str());
        self.sessions.row(row).map(|row| &row.kept)
    }

    fn hashed<'a>(&self, session: &'a str, provider: &'a str) -> HashedKey<'a> {
        HashedKey {
            session_hash: self.hasher.hash_one(session),
            provider_hash: self.hasher.hash_one(provider),
            session,
            provider,
        }
    }

    /// Returns the rows of a session that haven't expired.
    pub(super) fn session(
        &self,
        session: &SessionId,
        now: Instant,
    ) -> impl Iterator<Item = &Arc<Kept>> {
        let id = session.as_str();
        let rows = self.sessions.rows(self.hasher.hash_one(id), id);
        let rows = rows.iter().map(|row| &row.kept);
        rows.filter(move |kept| kept.is_live(now))
    }

    /// Returns at most `at_most` rows of a user from `position` on, and where the rest begins. Some may have expired.
    pub(super) fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> (Vec<Arc<Kept>>, Option<Position>) {
        let mut rows = self.rows_of(user, self.start(position), u64::MAX);
        let first = rows.by_ref().take(at_most);
        let first = first.map(|(_, kept)| Arc::clone(kept)).collect();
        let next = rows.next().map(|(number, _)| {
            Position::new([self.id.to_be_bytes(), number.to_be_bytes()].concat())
        });
        (first, next)
    }

    /// Returns the rows of a user whose numbers are in this range, by number.
    fn rows_of<'a>(
        &'a self,
        user: &'a UserId,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = (u64, &'a Arc<Kept>)> {
        let id = user.as_str();
        let hash = self.hasher.hash_one(id);
        let same_hash = self.users.range((hash, first)..=(hash, last));
        let own = same_hash.filter(move |(_, kept)| kept.user() == id);
        own.map(|(&(_, number), kept)| (number, kept))
    }

    /// Returns the number at which a listing continues.
    fn start(&self, position: Option<&Position>) -> u64 {
        let number = position.and_then(|position| {
            let bytes: &[u8; 16] = position.as_bytes().try_into().ok()?;
            let (id, number) = bytes.split_at(8);
            let is_own = id == self.id.to_be_bytes();
            is_own.then_some(u64::from_be_bytes(number.try_into().ok()?))
        });
        number.unwrap_or(0)
    }

    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Removes at most `at_most` rows of a user whose numbers are `last` or less. Some may have expired.
    pub(super) fn remove_user_rows(
        &mut self,
        user: &UserId,
        last: u64,
        at_most: usize,
        now: Instant,
    ) -> Removed {
        let rows = self.rows_of(user, 0, last).take(at_most);
        let rows: Removed = rows.map(|(_, kept)| Arc::clone(kept)).collect();
        for kept in &rows {
            self.remove(kept, now);
        }
        rows
    }

    /// Removes all rows of a session. Some may have expired.
    pub(super) fn remove_session(&mut self, session: &SessionId, now: Instant) -> Removed {
        let id = session.as_str();
        let rows = self.sessions.rows(self.hasher.hash_one(id), id);
        let rows: Removed = rows.iter().map(|row| Arc::clone(&row.kept)).collect();
        for kept in &rows {
            self.remove(kept, now);
        }
        rows
    }

    /// Removes a row. The end of its record begins now, unless it has begun because the row had expired.
    pub(super) fn remove(&mut self, kept: &Kept, now: Instant) {
        self.take(kept);
        if kept.is_live(now)
            && !self.records.is_empty()
            && let Some(key) = kept.key()
        {
            self.records.outlive(&key, Some(now));
        }
    }

    /// Takes a row out of everything that leads to it. Returns its number.
    fn take(&mut self, kept: &Kept) -> Option<u64> {
        let key = self.hashed(kept.session(), kept.provider());
        let number = self.sessions.remove(key)?.number;
        if !kept.user().is_empty() {
            let hash = self.hasher.hash_one(kept.user());
            self.users.remove(&(hash, number));
        }
        if let Some(at) = kept.expires() {
            self.expirations.remove(&(at, number));
        }
        Some(number)
    }

    /// Puts a row in if the conditions of `put` hold. Returns the row that it replaces.
    pub(super) fn put(
        &mut self,
        put: &Put<'_>,
        kept: Arc<Kept>,
        now: Instant,
    ) -> (PutOutcome, Option<Arc<Kept>>) {
        let replaced = self.row_or_expired(put.key).cloned();
        let live = replaced.as_deref().filter(|kept| kept.is_live(now));
        if let Some(outcome) = self.refusal(put, live, now) {
            return (outcome, None);
        }
        self.records.outlive(put.key, kept.expires());
        self.replace(replaced.as_deref(), kept, now);
        (PutOutcome::Written, replaced)
    }

    /// Writes a row that is there, with another content. Its user stays. Returns the row as it was.
    pub(super) fn rewrite(
        &mut self,
        key: &RowKey,
        change: RowChange<'_>,
        now: Instant,
    ) -> Option<Arc<Kept>> {
        let replaced = Arc::clone(self.row(key, now)?);
        let expires = match change.keep_for {
            None => replaced.expires(),
            Some(span) => span.and_then(|span| now.checked_add(span)),
        };
        let row = Row {
            user_id: UserId::from_stored(replaced.user().to_owned()),
            ..change.stored.row.clone()
        };
        let kept = Kept::new(key, &row, change.stored.version, expires);
        self.replace(Some(&replaced), Arc::new(kept), now);
        Some(replaced)
    }

    fn replace(&mut self, replaced: Option<&Kept>, kept: Arc<Kept>, now: Instant) {
        let number = replaced.and_then(|replaced| {
            let number = self.take(replaced)?;
            let keeps_it = replaced.is_live(now) && replaced.user() == kept.user();
            keeps_it.then_some(number)
        });
        let number = number.unwrap_or_else(|| self.next_number());
        self.insert(number, kept);
    }

    /// Returns the outcome if nothing is to be written.
    fn refusal(&self, put: &Put<'_>, replaced: Option<&Kept>, now: Instant) -> Option<PutOutcome> {
        let version = replaced.map(Kept::version);
        if put.condition != Condition::Always && version == Some(put.version) {
            return Some(PutOutcome::Written);
        }
        match put.condition {
            Condition::Absent if version.is_some() => return Some(PutOutcome::Exists),
            Condition::Version(expected) if version != Some(expected) => {
                return Some(PutOutcome::VersionMismatch);
            }
            _ => {}
        }
        if let Some((source, version)) = put.source
            && self.row(source, now).map(|kept| kept.version()) != Some(version)
        {
            return Some(PutOutcome::SourceChanged);
        }
        let is_full = || self.session(&put.key.session, now).count() >= put.max_providers;
        if version.is_none() && is_full() {
            return Some(PutOutcome::TooManyProviders);
        }
        let record = self.records.get(put.key, now)?;
        let token = put.row.refresh_token_hash()?;
        record.is_redeemed(token).then_some(PutOutcome::Redeemed)
    }

    fn next_number(&mut self) -> u64 {
        if self.id == 0 {
            self.id = rand::random();
        }
        self.last_number += 1;
        self.last_number
    }

    fn insert(&mut self, number: u64, kept: Arc<Kept>) {
        if !kept.user().is_empty() {
            let hash = self.hasher.hash_one(kept.user());
            self.users.insert((hash, number), Arc::clone(&kept));
        }
        if let Some(at) = kept.expires() {
            self.expirations.insert((at, number), Arc::clone(&kept));
        }
        let hash = self.hasher.hash_one(kept.session());
        let provider = self.hasher.hash_one(kept.provider());
        let entry = Entry {
            provider,
            number,
            kept,
        };
        self.sessions.insert(hash, entry);
    }
}
