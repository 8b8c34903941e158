//! The rows: 2 KiB each, with 8 providers per session, and the calls about them.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use prost_types::Timestamp;
use token_broker::proto::v1::{
    GetAccessTokenRequest, GetAllRequest, GetRequest, StoreRequest, UpstreamTokens,
};

pub(crate) const PROVIDERS: u32 = 8;
/// The bytes of a row's tokens.
pub(crate) const TOKENS: usize = ACCESS + REFRESH + ID;

pub(crate) const ACCESS: usize = 1_000;
const REFRESH: usize = 200;
const ID: usize = 600;

/// The key of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) session: u32,
    pub(crate) provider: u32,
}

/// Returns the keys of all rows of these sessions.
pub(crate) fn all(sessions: Range<u32>) -> impl Iterator<Item = Key> {
    sessions.flat_map(|session| (0..PROVIDERS).map(move |provider| Key { session, provider }))
}

pub(crate) fn get(row: Key) -> GetRequest {
    GetRequest {
        session_id: session_id(row.session),
        provider: provider_name(row.provider),
        binding: None,
    }
}

pub(crate) fn get_access_token(row: Key) -> GetAccessTokenRequest {
    GetAccessTokenRequest {
        session_id: session_id(row.session),
        provider: provider_name(row.provider),
        ..GetAccessTokenRequest::default()
    }
}

pub(crate) fn get_all(session: u32) -> GetAllRequest {
    GetAllRequest {
        session_id: session_id(session),
        binding: None,
    }
}

/// Returns the request that stores a row.
pub(crate) fn store(row: Key) -> StoreRequest {
    store_for(
        session_id(row.session),
        provider_name(row.provider),
        user_id(row.session),
    )
}

pub(crate) fn store_for(session_id: String, provider: String, user_id: String) -> StoreRequest {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let tokens = UpstreamTokens {
        access_token: "a".repeat(ACCESS),
        refresh_token: "r".repeat(REFRESH),
        id_token: "i".repeat(ID),
        scopes: vec!["openid".to_owned(), "repo:read".to_owned()],
        expires_at: Some(Timestamp {
            seconds: i64::try_from(now).unwrap() + 3600,
            nanos: 0,
        }),
        upstream_subject: format!("subject-of-{user_id}"),
        client_id: "client".to_owned(),
        user_id,
        ..Default::default()
    };
    StoreRequest {
        session_id,
        provider,
        tokens: Some(tokens),
        precondition: None,
        carry_forward_refresh_token: false,
    }
}

pub(crate) fn session_id(session: u32) -> String {
    // The id is as long as a UUID.
    format!("{session:08x}-0000-4000-8000-000000000000")
}

/// Returns the user of a session. Each has two.
pub(crate) fn user_id(session: u32) -> String {
    format!("user-{}", session / 2)
}

pub(crate) fn provider_name(provider: u32) -> String {
    format!("provider-{provider}")
}
