//! Which keys hold older data. A key holds a session's id, so that nothing here prints.

use super::{LegacyMapping, identity::Link};
use crate::{store::redis::keyspace::Keyspace, types::SessionId};

/// A key of older data.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Candidate {
    /// A row of the older layout.
    Row {
        /// Its key.
        key: String,
        /// The session in the key.
        session: SessionId,
    },
    /// An identity under a mapped protocol type.
    Identity {
        /// Its key.
        key: String,
        /// What the key says.
        link: Link,
    },
}

/// What a key may be.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Found {
    /// Older data.
    Candidate(Candidate),
    /// Older data by its place, but no id gives this key.
    NoId {
        /// The key, with what isn't UTF-8 replaced.
        key: String,
        /// Whether it is in the place of a row.
        is_row: bool,
    },
}

impl Candidate {
    /// Its key.
    pub fn key(&self) -> &str {
        match self {
            Self::Row { key, .. } | Self::Identity { key, .. } => key,
        }
    }

    /// Whether it is a row.
    pub fn is_row(&self) -> bool {
        matches!(self, Self::Row { .. })
    }
}

/// Tells older data from everything else by its key.
pub struct Classifier<'a> {
    keys: &'a Keyspace,
    rows: Vec<u8>,
    records: Vec<u8>,
    identities: Vec<(Vec<u8>, Link)>,
}

impl<'a> Classifier<'a> {
    /// Only identities of types that are mapped to another name are looked at: with the same name
    /// they are where they belong.
    pub fn new(keys: &'a Keyspace, mapping: &LegacyMapping) -> Self {
        let renamed = mapping
            .pairs()
            .filter(|(protocol, provider)| *protocol != provider.as_str());
        let identities = renamed.map(|(protocol, provider)| {
            let link = Link {
                protocol: protocol.to_owned(),
                provider: provider.clone(),
                subject: String::new(),
            };
            (keys.provider_identities(protocol).into_bytes(), link)
        });
        Self {
            keys,
            rows: keys.rows().into_bytes(),
            records: keys.records().into_bytes(),
            identities: identities.collect(),
        }
    }

    /// Whether the key, one of the tenant's, shows that somebody else wrote to the tenant before:
    /// it isn't a broker's own record.
    pub fn is_data(&self, key: &[u8]) -> bool {
        !key.starts_with(&self.records)
    }

    /// The older data under `key`, if that is what is there.
    pub fn find(&self, key: &[u8]) -> Option<Found> {
        if let Some(session) = key.strip_prefix(self.rows.as_slice()) {
            if session.is_empty() || session.contains(&b':') {
                return None;
            }
            let Ok(key) = str::from_utf8(key) else {
                return Some(no_id(key, true));
            };
            let session = self.keys.parse_legacy_row(key)?;
            return Some(Found::Candidate(Candidate::Row {
                key: key.to_owned(),
                session,
            }));
        }
        self.identities.iter().find_map(|(prefix, link)| {
            let subject = key.strip_prefix(prefix.as_slice())?;
            Some(match (str::from_utf8(key), str::from_utf8(subject)) {
                (Ok(key), Ok(subject)) if !subject.is_empty() => {
                    let link = Link {
                        subject: subject.to_owned(),
                        ..link.clone()
                    };
                    let key = key.to_owned();
                    Found::Candidate(Candidate::Identity { key, link })
                }
                _ => no_id(key, false),
            })
        })
    }
}

fn no_id(key: &[u8], is_row: bool) -> Found {
    Found::NoId {
        key: String::from_utf8_lossy(key).into_owned(),
        is_row,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str) -> Option<Found> {
        let keys = Keyspace::new(&"ns:name".parse().unwrap());
        let mut mapping = LegacyMapping::default();
        mapping.add("oidc=okta").unwrap();
        mapping.add("oauth2=oauth2").unwrap();
        let key = format!("{}{key}", keys.prefix());
        Classifier::new(&keys, &mapping).find(key.as_bytes())
    }

    #[test]
    fn a_row_of_the_older_layout_has_no_colon() {
        for session in ["s", "idx", "%", "a b", "日本"] {
            let Some(Found::Candidate(Candidate::Row { session: of, .. })) =
                found(&format!("upstream:{session}"))
            else {
                panic!("{session}");
            };
            assert_eq!(of.as_str(), session);
        }
        for other in [
            "upstream:",
            "upstream:s:p",
            "upstream:idx:s",
            "upstreams:s",
            "user:s",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn only_identities_of_types_with_another_name() {
        let Some(Found::Candidate(Candidate::Identity { link, .. })) = found("provider:4:oidc:a:b")
        else {
            panic!();
        };
        assert_eq!(
            (link.provider.as_str(), link.subject.as_str()),
            ("okta", "a:b")
        );
        for other in [
            "provider:6:oauth2:a",
            "provider:4:okta:a",
            "provider:5:oidc::a",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn what_no_id_gives() {
        let keys = Keyspace::new(&"ns:name".parse().unwrap());
        let mut mapping = LegacyMapping::default();
        mapping.add("oidc=okta").unwrap();
        let classifier = Classifier::new(&keys, &mapping);
        for (rest, is_row) in [
            (b"upstream:\xff".as_slice(), true),
            (b"provider:4:oidc:\xff", false),
            (b"provider:4:oidc:", false),
        ] {
            let key = [keys.prefix().as_bytes(), rest].concat();
            let Some(Found::NoId { is_row: row, .. }) = classifier.find(&key) else {
                panic!("{rest:?}");
            };
            assert_eq!(row, is_row);
        }
    }
}
