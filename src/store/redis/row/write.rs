//! Writing a row as JSON.

use serde::Serialize;

use crate::types::{
    ClientId, Envelope, ProviderName, ReauthReason, Row, Secret, SecretBytes, Subject, UnixTime,
    UserId, Version,
};

/// The fields of a row in the order in which they are written. The first two are the row's head (`label.rs`).
#[derive(Serialize)]
struct Written<'a> {
    version: u64,
    user_id: &'a str,
    provider_id: &'a str,
    access_token: &'a str,
    refresh_token: &'a str,
    id_token: &'a str,
    expires_at: i64,
    session_expires_at: i64,
    upstream_subject: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    token_type: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reauth: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    origin_server: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    origin_client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<&'a str>,
}

/// The names of all fields that a row can have here.
pub(super) const FIELDS: [&str; 18] = [
    "version",
    "user_id",
    "provider_id",
    "access_token",
    "refresh_token",
    "id_token",
    "expires_at",
    "session_expires_at",
    "upstream_subject",
    "client_id",
    "updated_at",
    "token_type",
    "scopes",
    "refresh_expires_at",
    "reauth",
    "origin_server",
    "origin_client",
    "sealed",
];

/// Encodes `row` as JSON. The bytes are wiped when they are dropped.
///
/// # Errors
/// No [`Row`] causes one. Returning a `Result` avoids a panic.
pub fn encode(
    row: &Row,
    provider: &ProviderName,
    version: Version,
) -> Result<SecretBytes, serde_json::Error> {
    fn text(secret: Option<&Secret>) -> &str {
        secret.map_or("", Secret::expose)
    }
    let seconds = |time: Option<UnixTime>| time.map(UnixTime::seconds);
    let origin = row.origin.as_ref();
    let written = Written {
        version: version.number(),
        user_id: row.user_id.as_ref().map_or("", UserId::as_str),
        provider_id: provider.as_str(),
        access_token: text(row.access_token.as_ref()),
        refresh_token: text(row.refresh_token.as_ref()),
        id_token: text(row.id_token.as_ref()),
        expires_at: seconds(row.expires_at).unwrap_or(0),
        session_expires_at: seconds(row.session_expires_at).unwrap_or(0),
        upstream_subject: row.upstream_subject.as_ref().map_or("", Subject::as_str),
        client_id: row.client_id.as_ref().map_or("", ClientId::as_str),
        updated_at: seconds(row.updated_at),
        token_type: &row.token_type,
        scopes: &row.scopes,
        refresh_expires_at: seconds(row.refresh_expires_at),
        reauth: row.reauth.map(|reason| match reason {
            ReauthReason::Refused => "refused",
            ReauthReason::InDoubt => "in_doubt",
        }),
        origin_server: origin.map_or("", |origin| &origin.server),
        origin_client: origin.map_or("", |origin| &origin.client_id),
        sealed: row.sealed.as_ref().map(Envelope::as_str),
    };
    // Room enough for most rows.
    let mut json = SecretBytes::with_capacity(row.size() + row.size() / 8 + 768);
    serde_json::to_writer(&mut json, &written)?;
    Ok(json)
}
