//! Reading the JSON of a row, which other software may have written.

use serde::{Deserialize, Deserializer};

use super::{NULL, plain};
use crate::{
    error::Unreadable,
    store::{Decoded, redis::largest::TOO_LARGE},
    types::{
        ClientId, Envelope, Origin, ProviderName, ReauthReason, Row, Secret, StoredRow, Subject,
        UnixTime, UserId, Version,
    },
};

/// The fields of a row. Each may be missing or `null`.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Read {
    pub(super) provider_id: Option<String>,
    #[serde(deserialize_with = "secret")]
    pub(super) access_token: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    pub(super) refresh_token: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    pub(super) id_token: Option<Secret>,
    pub(super) expires_at: Option<i64>,
    pub(super) session_expires_at: Option<i64>,
    pub(super) user_id: Option<String>,
    pub(super) upstream_subject: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) version: Option<serde_json::Value>,
    pub(super) updated_at: Option<i64>,
    pub(super) token_type: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) refresh_expires_at: Option<i64>,
    pub(super) reauth: Option<String>,
    pub(super) origin_server: Option<String>,
    pub(super) origin_client: Option<String>,
    pub(super) sealed: Option<String>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(Secret::new))
}

/// Decodes the value of a row's key. `provider` is the provider in the key. Returns `None` for `null`, which
/// every reader treats as a missing row.
pub fn decode(value: &[u8], provider: &ProviderName) -> Option<Decoded> {
    (value != NULL).then(|| decode_row(value, Some(provider)))
}

/// Decodes a row. If its key tells no provider, `provider` is `None`.
pub(super) fn decode_row(bytes: &[u8], provider: Option<&ProviderName>) -> Decoded {
    let read = match plain::read(bytes) {
        Some(read) => read,
        None => by_serde(bytes)?,
    };
    let named = read.provider_id.unwrap_or_default();
    if !named.is_empty() && provider.is_some_and(|provider| named != provider.as_str()) {
        return Err(Unreadable::damaged(
            "provider_id is not the provider in the key",
        ));
    }
    let time = |seconds: Option<i64>| seconds.and_then(UnixTime::from_stored);
    let reauth = match read.reauth.as_deref() {
        None | Some("") => None,
        Some("refused") => Some(ReauthReason::Refused),
        // The token must not be used if the reason is unknown either.
        Some(_) => Some(ReauthReason::InDoubt),
    };
    let row = Row {
        access_token: read.access_token,
        refresh_token: read.refresh_token,
        id_token: read.id_token,
        token_type: read.token_type.unwrap_or_default(),
        scopes: read.scopes.unwrap_or_default(),
        expires_at: time(read.expires_at),
        session_expires_at: time(read.session_expires_at),
        refresh_expires_at: time(read.refresh_expires_at),
        user_id: read.user_id.and_then(UserId::from_stored),
        upstream_subject: read.upstream_subject.and_then(Subject::from_stored),
        client_id: read.client_id.and_then(ClientId::from_stored),
        updated_at: time(read.updated_at),
        reauth,
        origin: Origin::from_stored(
            read.origin_server.unwrap_or_default(),
            read.origin_client.unwrap_or_default(),
        ),
        sealed: read.sealed.map(Envelope::from_stored),
    };
    // What no caller may store is served to none.
    if let Some((field, fault)) = row.faults().into_iter().next() {
        return Err(Unreadable::damaged(format!("{field} {fault}")));
    }
    let version = read.version.as_ref().and_then(version);
    Ok(StoredRow {
        row,
        version: version.unwrap_or_else(|| Version::derived_from(bytes)),
    })
}

/// Reads the fields of a row, however they are spelled.
pub(super) fn by_serde(bytes: &[u8]) -> Result<Read, Unreadable> {
    if bytes == TOO_LARGE {
        return Err(Unreadable::damaged("it is too large"));
    }
    // serde would also accept an array that holds the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Unreadable::damaged("a JSON array"));
    }
    // The error's own text would quote a value of the wrong type, so the message gives only its position.
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() {
            "a field of the wrong type"
        } else {
            "not JSON"
        };
        Unreadable::damaged(format!(
            "{what} at byte {} of {}",
            error.column(),
            bytes.len()
        ))
    })
}

/// Reads a version. Other software may spell it as a fraction, such as `5.0`.
fn version(value: &serde_json::Value) -> Option<Version> {
    let number = value
        .as_f64()
        .filter(|n| n.fract() == 0.0 && (1.0..1e16).contains(n))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above"
    )]
    Version::from_number(number as u64)
}
