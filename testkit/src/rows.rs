//! Short helpers that make rows and ids.

use std::time::Duration;

use token_broker::{
    store::{Condition, Put},
    types::{
        ClientId, ProviderName, Row, RowKey, Secret, SessionId, Subject, UnixTime, UserId, Version,
    },
};

/// Returns the session with this id.
pub fn session(id: &str) -> SessionId {
    SessionId::new(id).unwrap()
}

/// Returns the provider with this name.
pub fn provider(name: &str) -> ProviderName {
    ProviderName::new(name).unwrap()
}

/// Returns the user with this id.
pub fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

/// Returns the key of a row.
pub fn key(session: &str, provider: &str) -> RowKey {
    RowKey {
        session: self::session(session),
        provider: self::provider(provider),
    }
}

/// Returns a token, or `None` if the text is empty.
pub fn secret(text: &str) -> Option<Secret> {
    Secret::new(text.to_owned())
}

/// Returns the time `seconds` from now. A negative number gives a time in the past.
pub fn in_seconds(seconds: i64) -> Option<UnixTime> {
    UnixTime::from_seconds(UnixTime::now().seconds() + seconds)
}

/// Returns a row without a user: only an access token that doesn't expire.
pub fn bare(access_token: &str) -> Row {
    Row {
        access_token: secret(access_token),
        ..Row::default()
    }
}

/// Returns a row as after a login of `user`: it expires in an hour, and has a refresh token and all
/// bindings.
pub fn row(user: &str, access_token: &str) -> Row {
    Row {
        access_token: secret(access_token),
        refresh_token: secret(&format!("refresh-{access_token}")),
        token_type: "Bearer".to_owned(),
        scopes: vec!["openid".to_owned(), "repo:read".to_owned()],
        expires_at: in_seconds(3600),
        user_id: Some(self::user(user)),
        upstream_subject: Subject::new(format!("subject-of-{user}")).ok(),
        client_id: ClientId::new("client").ok(),
        ..Row::default()
    }
}

/// Returns `row` as it should be read again. The broker adds only the time of the write, and where the tokens come
/// from.
pub fn sent(stored: &Row) -> Row {
    Row {
        updated_at: None,
        origin: None,
        ..stored.clone()
    }
}

/// Returns what puts a row in the place of any other, for good.
pub fn put_always<'a>(key: &'a RowKey, row: &'a Row) -> Put<'a> {
    Put {
        key,
        row,
        version: Version::random(),
        keep_for: None,
        condition: Condition::Always,
        source: None,
        max_providers: usize::MAX,
    }
}

/// Returns the access token of a row.
pub fn access_token(row: &Row) -> &str {
    row.access_token.as_ref().map_or("", Secret::expose)
}

/// Returns the refresh token of a row.
pub fn refresh_token(row: &Row) -> &str {
    row.refresh_token.as_ref().map_or("", Secret::expose)
}

/// One day.
pub const DAY: Duration = Duration::from_secs(86_400);
