//! What a key should hold, by its name.

use crate::{
    store::redis::keyspace::Keyspace,
    types::{ProviderName, RowKey},
};

/// A row and where it belongs.
pub struct ExpectedRow {
    /// Its key.
    pub row: String,
    /// The provider in the key.
    pub provider: ProviderName,
    /// The index of its session.
    pub session_index: String,
}

/// A set of rows or identities.
pub struct Index {
    /// Its key.
    pub key: String,
    /// Of what.
    pub sort: Sort,
    /// How the members' JSON spells the user whose index it is; empty if that isn't known.
    pub spelling: String,
}

/// What an index is an index of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A session's rows.
    Session,
    /// A user's rows.
    User,
    /// A user's identities.
    Identities,
}

/// What a key should hold.
pub enum Role {
    Row(ExpectedRow),
    Index(Index),
    /// A row of the older layout, which a migration will move.
    Legacy,
    /// Nothing of the rows and indexes.
    Other,
}

impl Sort {
    /// As `check_index.lua` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::Identities => "identities",
        }
    }
}

/// What `key`, one of the tenant's, should hold.
pub fn role(keys: &Keyspace, key: Vec<u8>) -> Role {
    let Ok(key) = String::from_utf8(key) else {
        return Role::Other;
    };
    if let Some(RowKey { session, provider }) = keys.parse_row(&key) {
        return Role::Row(ExpectedRow {
            session_index: keys.session_index(&session),
            provider,
            row: key,
        });
    }
    let (sort, spelled) = if keys.parse_session_index(&key).is_some() {
        (Sort::Session, None)
    } else if let Some(spelled) = keys.parse_user_index(&key) {
        (Sort::User, Some(spelled))
    } else if let Some(spelled) = keys.parse_user_identities(&key) {
        (Sort::Identities, Some(spelled))
    } else if keys.parse_legacy_row(&key).is_some() {
        return Role::Legacy;
    } else {
        return Role::Other;
    };
    let user = spelled.and_then(Keyspace::parse_user);
    let spelling = user.and_then(|user| serde_json::to_string(user.as_str()).ok());
    Role::Index(Index {
        sort,
        spelling: spelling.map_or_else(String::new, |user| format!("\"user_id\":{user}")),
        key,
    })
}
