//! Rows and indexes in maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use token_broker::{
    store::{Condition, Decoded, Put, PutOutcome, RECORD_OUTLIVES_ROW},
    types::{Record, RowKey, SessionId, StoredRow, TokenHash, UserId, Version},
};

use super::Flaw;

#[derive(Clone, Default, PartialEq)]
pub struct State {
    pub rows: BTreeMap<String, Kept>,
    pub sessions: BTreeMap<SessionId, Index>,
    pub users: BTreeMap<UserId, Index>,
    pub records: BTreeMap<String, KeptRecord>,
}

#[derive(Clone, PartialEq)]
pub struct KeptRecord {
    pub record: Record,
    /// The number of the last change.
    pub number: u64,
    /// Since when it is known that there is no row.
    without_row: Option<Instant>,
}

impl KeptRecord {
    pub fn new(record: Record, number: u64) -> Self {
        Self {
            record,
            number,
            without_row: None,
        }
    }
}

#[derive(Clone, PartialEq)]
pub struct Kept {
    pub key: RowKey,
    pub decoded: Decoded,
    pub owner: Option<UserId>,
    pub dies: Option<Instant>,
}

#[derive(Clone, Default, PartialEq)]
pub struct Index {
    pub members: BTreeSet<RowKey>,
    /// The expiry of the index. Only a flaw sets it.
    dies: Option<Instant>,
}

fn over(dies: Option<Instant>, now: Instant) -> bool {
    dies.is_some_and(|dies| dies <= now)
}

impl Flaw {
    /// Returns the key of a row.
    pub fn row_key(self, key: &RowKey) -> String {
        let (session, provider) = (key.session.as_str(), key.provider.as_str());
        match self {
            Self::GluesIds => format!("{session}:{provider}"),
            _ => format!("{}:{session}:{provider}", session.len()),
        }
    }

    pub fn user_key(self, user: &UserId) -> UserId {
        match self {
            Self::FoldsCase => UserId::new(user.as_str().to_lowercase()).unwrap(),
            _ => user.clone(),
        }
    }
}

impl Kept {
    pub fn version(&self) -> Option<Version> {
        self.decoded.as_ref().ok().map(|stored| stored.version)
    }
}

impl State {
    /// Removes expired rows.
    pub fn bury(&mut self, flaw: Flaw) {
        let now = Instant::now();
        let rows = std::mem::take(&mut self.rows).into_iter();
        let (dead, alive): (BTreeMap<_, _>, _) = rows.partition(|(_, kept)| over(kept.dies, now));
        self.rows = alive;
        let rows = &self.rows;
        self.records.retain(|name, kept| {
            if rows.contains_key(name) {
                kept.without_row = None;
                return true;
            }
            let since = *kept.without_row.get_or_insert(now);
            flaw != Flaw::ForgetsTheRecord && since + RECORD_OUTLIVES_ROW > now
        });
        self.sessions.retain(|_, index| !over(index.dies, now));
        self.users.retain(|_, index| !over(index.dies, now));
        if flaw != Flaw::NeverPrunes {
            for kept in dead.values() {
                self.unindex(flaw, kept);
            }
        }
    }

    /// Returns why a write is refused, if it is.
    pub fn refusal(&self, flaw: Flaw, put: &Put<'_>) -> Option<PutOutcome> {
        let old = self.rows.get(&flaw.row_key(put.key));
        match put.condition {
            Condition::Absent if old.is_some() => return Some(PutOutcome::Exists),
            Condition::Version(_) if old.is_none() && flaw == Flaw::WritesOntoNothing => {}
            Condition::Version(version) if old.and_then(Kept::version) != Some(version) => {
                return Some(PutOutcome::VersionMismatch);
            }
            _ => {}
        }
        if let Some((source, version)) = put.source.filter(|_| flaw != Flaw::IgnoresTheSource)
            && self.rows.get(&flaw.row_key(source)).and_then(Kept::version) != Some(version)
        {
            return Some(PutOutcome::SourceChanged);
        }
        let index = self.sessions.get(&put.key.session);
        let rows = index.map_or(0, |index| index.members.len());
        if old.is_none() && rows >= put.max_providers {
            return Some(PutOutcome::TooManyProviders);
        }
        let known = self.records.get(&flaw.row_key(put.key))?;
        let token = TokenHash::of(put.row.refresh_token.as_ref()?);
        let is_redeemed = known.record.is_redeemed(token) && flaw != Flaw::StoresRedeemedTokens;
        is_redeemed.then_some(PutOutcome::Redeemed)
    }

    /// Writes the row, but not its indexes.
    pub fn write(&mut self, flaw: Flaw, put: &Put<'_>) {
        let name = flaw.row_key(put.key);
        let old = self.rows.get(&name);
        let mut row = put.row.clone();
        let mut version = put.version;
        let mut dies = put.keep_for.map(|span| Instant::now() + span);
        if let Some(Kept {
            decoded: Ok(old),
            dies: old_dies,
            ..
        }) = old
        {
            if flaw == Flaw::MergesRows {
                row.id_token = row.id_token.or_else(|| old.row.id_token.clone());
            }
            if flaw == Flaw::KeepsTheOldLife {
                dies = *old_dies;
            }
        }
        if flaw == Flaw::CountsVersions {
            let last = old.and_then(Kept::version).map_or(0, Version::number);
            version = Version::from_number(last + 1).unwrap();
        }
        let kept = Kept {
            key: put.key.clone(),
            owner: row.user_id.clone(),
            decoded: Ok(StoredRow { row, version }),
            dies,
        };
        self.rows.insert(name, kept);
    }

    /// Adds a row that was written to its indexes.
    pub fn index(&mut self, flaw: Flaw, put: &Put<'_>) {
        let add = |index: &mut Index, forgetful: Flaw| {
            if flaw != forgetful || index.members.is_empty() {
                index.members.insert(put.key.clone());
            }
            if flaw == Flaw::ShortensTheIndex {
                index.dies = put.keep_for.map(|span: Duration| Instant::now() + span);
            }
        };
        let session = self.sessions.entry(put.key.session.clone()).or_default();
        add(session, Flaw::ForgetsTheSessionIndex);
        if let Some(user) = &put.row.user_id {
            add(
                self.users.entry(flaw.user_key(user)).or_default(),
                Flaw::ForgetsTheUserIndex,
            );
        }
    }

    /// Removes a row from its indexes.
    pub fn unindex(&mut self, flaw: Flaw, kept: &Kept) {
        fn take<K: Ord>(indexes: &mut BTreeMap<K, Index>, of: &K, key: &RowKey) {
            if let Some(index) = indexes.get_mut(of) {
                index.members.remove(key);
                if index.members.is_empty() {
                    indexes.remove(of);
                }
            }
        }
        take(&mut self.sessions, &kept.key.session, &kept.key);
        if let Some(user) = &kept.owner {
            take(&mut self.users, &flaw.user_key(user), &kept.key);
        }
    }
}
