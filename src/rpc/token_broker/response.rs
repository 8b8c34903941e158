//! Makes responses, with one function per RPC. Tokens are moved, not copied.

use crate::{
    proto::v1,
    rpc::values::{reauth_reason, text, timestamp, token_type},
    tokens::{DeletedUser, Page, SessionTokens, UserSession},
    types::{ProviderName, Row, StoredRow, UnixTime, Version},
};

pub(super) fn store(written: Version) -> v1::StoreResponse {
    v1::StoreResponse {
        version: written.number(),
    }
}

pub(super) fn get(stored: StoredRow, provider: ProviderName) -> v1::GetResponse {
    v1::GetResponse {
        entry: Some(entry(stored, provider, UnixTime::now())),
    }
}

pub(super) fn get_all(found: SessionTokens) -> v1::GetAllResponse {
    let now = UnixTime::now();
    let named = |(provider, stored): (ProviderName, _)| {
        let name = String::from(provider.clone());
        (name, entry(stored, provider, now))
    };
    v1::GetAllResponse {
        entries: found.rows.into_iter().map(named).collect(),
        unreadable: found.unreadable.into_keys().map(String::from).collect(),
    }
}

pub(super) fn delete(deleted: u64) -> v1::DeleteResponse {
    v1::DeleteResponse { deleted }
}

pub(super) fn delete_user(deleted: DeletedUser) -> v1::DeleteUserResponse {
    v1::DeleteUserResponse {
        deleted_rows: deleted.rows,
        deleted_identities: deleted.identities,
        existed: deleted.existed,
    }
}

pub(super) fn get_latest_for_user(
    stored: StoredRow,
    provider: ProviderName,
) -> v1::GetLatestForUserResponse {
    v1::GetLatestForUserResponse {
        entry: Some(entry(stored, provider, UnixTime::now())),
    }
}

pub(super) fn list_user_sessions(page: Page) -> v1::ListUserSessionsResponse {
    v1::ListUserSessionsResponse {
        sessions: page.sessions.into_iter().map(user_session).collect(),
        next_page_token: page.next.unwrap_or_default(),
    }
}

/// Returns a row as callers see it at `now`.
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
    v1::UpstreamTokens {
        access_token: text(row.access_token),
        refresh_token: text(row.refresh_token),
        id_token: text(row.id_token),
        token_type: token_type(row.token_type),
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

/// Returns a row of a user without its tokens.
fn user_session(session: UserSession) -> v1::UserSession {
    v1::UserSession {
        session_id: session.key.session.as_str().to_owned(),
        provider: session.key.provider.into(),
        client_id: session.client_id.map(String::from).unwrap_or_default(),
        expires_at: timestamp(session.expires_at),
        updated_at: timestamp(session.updated_at),
    }
}
