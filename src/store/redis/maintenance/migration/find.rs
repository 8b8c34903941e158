//! Finding older data among all keys of the tenant.

use std::mem;

use super::{LegacyMapping, identity::IdentityKey};
use crate::{
    store::{
        Error,
        redis::{
            keyspace::{Key, Keyspace},
            link::{Link, topology::ServerSet},
            maintenance::{
                grace::{self, Notes},
                scan::Scan,
                seen::Seen,
            },
        },
    },
    types::{SecretBytes, SessionId},
};

/// How many pieces of older data go together, at most.
const BATCH: usize = 256;

/// A key that holds older data. It names a session or a subject, so it doesn't print.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Candidate {
    /// The key.
    pub key: Key,
    /// What the key says about the data.
    pub data: OlderData,
}

impl Candidate {
    /// Whether the data is a row. Otherwise it is an identity.
    pub fn is_row(&self) -> bool {
        matches!(self.data, OlderData::Row(_))
    }
}

/// What a key says about the older data that it holds.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum OlderData {
    /// A row of this session.
    Row(SessionId),
    /// An identity under a mapped protocol type.
    Identity(IdentityKey),
}

/// A key that looks like older data and holds no valid id: it isn't UTF-8, or the id is empty.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct KeyWithoutId {
    /// The key, with replacements for what isn't UTF-8.
    pub key: String,
    /// Whether it is in the place of a row. Otherwise it is in that of an identity.
    pub is_row: bool,
}

/// When a pass begins the grace period (guarantees, section 5, M7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraceStart {
    /// Never: the period stays as it is, open or not.
    Never,
    /// As soon as the tenant is seen to hold any data.
    WithData,
    /// As soon as the tenant is seen to hold anything that no broker writes.
    WithOthersData,
    /// At once.
    AtOnce,
}

/// Some older data, and how far the search is.
pub struct Batch {
    /// The older data. May be empty: each page of keys gives a batch.
    pub candidates: Vec<Candidate>,
    /// Keys that can't be candidates.
    pub without_id: Vec<KeyWithoutId>,
    /// The users' indexes among the keys, if the grace period began at the beginning of the search.
    pub user_indexes: Vec<Key>,
    /// How many keys of the tenant were looked at so far.
    pub scanned: u64,
    /// Which part of the database was looked at so far, 0 to 1.
    pub done: f64,
    /// Whether the tenant is in its grace period.
    pub grace_period: bool,
    /// Whether any data of the tenant was found so far.
    pub has_data: bool,
}

/// Looks at every key of the tenant once.
pub struct Finder<'a> {
    link: &'a Link,
    keys: &'a Keyspace,
    older: OlderKeys<'a>,
    scan: Scan<'a>,
    /// A scan may find a key more than once, but the key must not count twice.
    seen: Seen,
    candidates: Vec<Candidate>,
    without_id: Vec<KeyWithoutId>,
    user_indexes: Vec<Key>,
    scanned: u64,
    grace_period: bool,
    has_data: bool,
    grace_start: GraceStart,
    apply: bool,
}

impl<'a> Finder<'a> {
    /// A search on `server_set` under `mapping`. Begins the grace period, if `grace_start` is [`GraceStart::AtOnce`]. Changes
    /// nothing in Redis unless `apply`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn new(
        link: &'a Link,
        server_set: ServerSet,
        keys: &'a Keyspace,
        mapping: &LegacyMapping,
        grace_start: GraceStart,
        apply: bool,
    ) -> Result<Self, Error> {
        let mut finder = Self {
            link,
            keys,
            older: OlderKeys::new(keys, mapping),
            scan: Scan::new(link, server_set, keys.pattern()),
            seen: Seen::default(),
            candidates: Vec::new(),
            without_id: Vec::new(),
            user_indexes: Vec::new(),
            scanned: 0,
            grace_period: Notes::read(link, keys).await?.is_marked,
            has_data: false,
            grace_start,
            apply,
        };
        if grace_start == GraceStart::AtOnce {
            finder.begin_grace_period().await?;
        }
        Ok(finder)
    }

    /// Returns the next batch, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.candidates.is_empty() {
            let Some(page) = self.scan.page().await? else {
                return Ok(None);
            };
            for key in page {
                self.look_at(&key).await?;
            }
        }
        let rest = self.candidates.split_off(self.candidates.len().min(BATCH));
        Ok(Some(Batch {
            candidates: mem::replace(&mut self.candidates, rest),
            without_id: mem::take(&mut self.without_id),
            user_indexes: mem::take(&mut self.user_indexes),
            scanned: self.scanned,
            done: self.scan.done(),
            grace_period: self.grace_period,
            has_data: self.has_data,
        }))
    }

    async fn look_at(&mut self, key: &[u8]) -> Result<(), Error> {
        self.scanned += 1;
        // The period begins before anything is migrated, because the writes that follow depend on it.
        self.has_data = self.has_data || self.older.is_data(key);
        let begins = !self.grace_period
            && match self.grace_start {
                GraceStart::Never | GraceStart::AtOnce => false,
                GraceStart::WithData => self.has_data,
                GraceStart::WithOthersData => self.older.is_others(key),
            };
        if begins {
            self.begin_grace_period().await?;
        }
        if self.apply
            && self.grace_start == GraceStart::AtOnce
            && let Some(name) = named(key)
            && self.keys.parse_user_index(&name).is_some()
        {
            self.user_indexes.push(name);
        }
        let Some(found) = self.older.find(key) else {
            return Ok(());
        };
        if self.seen.insert(&[key]) {
            match found {
                Ok(candidate) => self.candidates.push(candidate),
                Err(without_id) => self.without_id.push(without_id),
            }
        }
        Ok(())
    }

    async fn begin_grace_period(&mut self) -> Result<(), Error> {
        if self.apply {
            grace::begin(self.link, self.keys).await?;
        }
        self.grace_period = true;
        Ok(())
    }
}

/// Tells by its name whether a key holds older data.
struct OlderKeys<'a> {
    keys: &'a Keyspace,
    rows: Vec<u8>,
    records: Vec<u8>,
    /// The prefix of each mapped type's keys, and their meaning without a subject.
    identities: Vec<(Vec<u8>, IdentityKey)>,
}

impl<'a> OlderKeys<'a> {
    fn new(keys: &'a Keyspace, mapping: &LegacyMapping) -> Self {
        // Identities of a type that is mapped to its own name are where they belong.
        let renamed = mapping
            .pairs()
            .filter(|(protocol, provider)| *protocol != provider.as_str());
        let identities = renamed.map(|(protocol, provider)| {
            let identity = IdentityKey {
                protocol: protocol.to_owned(),
                provider: provider.clone(),
                subject: String::new(),
            };
            (keys.provider_identities(protocol).into_bytes(), identity)
        });
        Self {
            keys,
            rows: keys.rows().into_bytes(),
            records: keys.records().into_bytes(),
            identities: identities.collect(),
        }
    }

    /// Whether `key`, a key of the tenant, is data and not a broker's own record.
    fn is_data(&self, key: &[u8]) -> bool {
        !key.starts_with(&self.records)
    }

    /// Whether `key` is data of a kind that no broker writes.
    fn is_others(&self, key: &[u8]) -> bool {
        let name = str::from_utf8(key).unwrap_or_default();
        let is_brokers = self.keys.parse_row(name).is_some()
            || self.keys.parse_session_index(name).is_some()
            || self.keys.parse_user_index(name).is_some();
        self.is_data(key) && !is_brokers
    }

    /// Returns the older data that `key` holds. Returns `None` for every other key.
    fn find(&self, key: &[u8]) -> Option<Result<Candidate, KeyWithoutId>> {
        match key.strip_prefix(self.rows.as_slice()) {
            Some(session) => self.row(key, session),
            None => self.identity(key),
        }
    }

    fn row(&self, key: &[u8], session: &[u8]) -> Option<Result<Candidate, KeyWithoutId>> {
        if session.is_empty() || session.contains(&b':') {
            return None;
        }
        let Some(key) = named(key) else {
            return Some(Err(KeyWithoutId::new(key, true)));
        };
        let data = OlderData::Row(self.keys.parse_legacy_row(&key)?);
        Some(Ok(Candidate { key, data }))
    }

    fn identity(&self, key: &[u8]) -> Option<Result<Candidate, KeyWithoutId>> {
        self.identities.iter().find_map(|(prefix, identity)| {
            let subject = key.strip_prefix(prefix.as_slice())?;
            let (Some(name), Ok(subject)) = (named(key), str::from_utf8(subject)) else {
                return Some(Err(KeyWithoutId::new(key, false)));
            };
            if subject.is_empty() {
                return Some(Err(KeyWithoutId::new(key, false)));
            }
            let data = OlderData::Identity(IdentityKey {
                subject: subject.to_owned(),
                ..identity.clone()
            });
            Some(Ok(Candidate { key: name, data }))
        })
    }
}

/// Returns the name that Redis told. `None` if it isn't a text.
fn named(key: &[u8]) -> Option<Key> {
    Key::told(SecretBytes::new(key.to_vec()))
}

impl KeyWithoutId {
    fn new(key: &[u8], is_row: bool) -> Self {
        Self {
            key: String::from_utf8_lossy(key).into_owned(),
            is_row,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(key: &[u8]) -> Option<Result<OlderData, KeyWithoutId>> {
        let keys = Keyspace::new(&"ns:name".parse().unwrap());
        let mut mapping = LegacyMapping::default();
        mapping.add("oidc=okta").unwrap();
        mapping.add("oauth2=oauth2").unwrap();
        let key = [keys.prefix().as_bytes(), key].concat();
        let found = OlderKeys::new(&keys, &mapping).find(&key);
        found.map(|found| {
            found.map(|candidate| {
                assert_eq!(candidate.key.as_bytes(), key);
                candidate.data
            })
        })
    }

    #[test]
    fn a_row_of_the_older_layout_has_no_colon() {
        for session in ["s", "idx", "%", "a b", "日本"] {
            let found = find(format!("upstream:{session}").as_bytes());
            let row = OlderData::Row(SessionId::new(session).unwrap());
            assert_eq!(found, Some(Ok(row)), "{session}");
        }
        for other in [
            "upstream:",
            "upstream:s:p",
            "upstream:idx:s",
            "upstreams:s",
            "user:s",
        ] {
            assert_eq!(find(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn only_identities_of_types_with_another_name() {
        let Some(Ok(OlderData::Identity(identity))) = find(b"provider:4:oidc:a:b") else {
            panic!();
        };
        assert_eq!(
            (identity.provider.as_str(), identity.subject.as_str()),
            ("okta", "a:b")
        );
        for other in [
            "provider:6:oauth2:a",
            "provider:4:okta:a",
            "provider:5:oidc::a",
        ] {
            assert_eq!(find(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_no_id_gives() {
        for (key, is_row) in [
            (b"upstream:\xff".as_slice(), true),
            (b"provider:4:oidc:\xff", false),
            (b"provider:4:oidc:", false),
        ] {
            let Some(Err(found)) = find(key) else {
                panic!("{key:?}");
            };
            assert_eq!(found.is_row, is_row);
        }
    }
}
