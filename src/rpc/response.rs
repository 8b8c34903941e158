//! From the domain to the wire. Tokens are moved, not copied.

use prost_types::Timestamp;

use crate::{
    proto::v1,
    tokens::UserSession,
    types::{ProviderName, ReauthReason, Row, Secret, StoredRow, UnixTime},
};

/// A row as callers see it at `now`.
pub(super) fn entry(stored: StoredRow, provider: ProviderName, now: UnixTime) -> v1::TokenEntry {
    let StoredRow { row, version } = stored;
    v1::TokenEntry {
        version: version.number(),
        expired: row.is_expired(now),
        reauth_required: row.reauth.is_some(),
        reauth_reason: reauth_reason(row.reauth).into(),
        tokens: Some(tokens(row, provider)),
    }
}

fn tokens(row: Row, provider: ProviderName) -> v1::UpstreamTokens {
    let text = |secret: Option<Secret>| secret.map(Secret::into_exposed).unwrap_or_default();
    v1::UpstreamTokens {
        access_token: text(row.access_token),
        refresh_token: text(row.refresh_token),
        id_token: text(row.id_token),
        token_type: if row.token_type.is_empty() {
            "Bearer".to_owned()
        } else {
            row.token_type
        },
        scopes: row.scopes,
        expires_at: timestamp(row.expires_at),
        session_expires_at: timestamp(row.session_expires_at),
        refresh_expires_at: timestamp(row.refresh_expires_at),
        user_id: row.user_id.map(String::from).unwrap_or_default(),
        upstream_subject: row.upstream_subject.map(String::from).unwrap_or_default(),
        client_id: row.client_id.map(String::from).unwrap_or_default(),
        provider: provider.into(),
        updated_at: timestamp(row.updated_at),
    }
}

fn reauth_reason(reason: Option<ReauthReason>) -> v1::ReauthReason {
    match reason {
        None => v1::ReauthReason::Unspecified,
        Some(ReauthReason::Refused) => v1::ReauthReason::Refused,
        Some(ReauthReason::InDoubt) => v1::ReauthReason::InDoubt,
    }
}

/// A row of a user, without its tokens.
pub(super) fn user_session(session: UserSession) -> v1::UserSession {
    v1::UserSession {
        session_id: session.key.session.as_str().to_owned(),
        provider: session.key.provider.into(),
        client_id: session.client_id.map(String::from).unwrap_or_default(),
        expires_at: timestamp(session.expires_at),
        updated_at: timestamp(session.updated_at),
    }
}

fn timestamp(time: Option<UnixTime>) -> Option<Timestamp> {
    time.map(|time| Timestamp {
        seconds: time.seconds(),
        nanos: 0,
    })
}
