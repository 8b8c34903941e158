//! The JSON of a row (guarantees, section 3): toolhive's fields, then the broker's own, which toolhive
//! ignores and drops when it rewrites a row.

pub mod fields;

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::{
    error::Unreadable,
    store::Decoded,
    types::{
        ClientId, ProviderName, ReauthReason, Row, Secret, StoredRow, Subject, UnixTime, UserId,
        Version,
    },
};

/// A row without tokens, which is absent to every reader.
pub(super) const NULL: &[u8] = b"null";

#[derive(Serialize)]
struct Written<'a> {
    provider_id: &'a str,
    access_token: &'a str,
    refresh_token: &'a str,
    id_token: &'a str,
    expires_at: i64,
    session_expires_at: i64,
    user_id: &'a str,
    upstream_subject: &'a str,
    client_id: &'a str,
    version: u64,
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
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Read {
    provider_id: Option<String>,
    #[serde(deserialize_with = "secret")]
    access_token: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    refresh_token: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    id_token: Option<Secret>,
    expires_at: Option<i64>,
    session_expires_at: Option<i64>,
    user_id: Option<String>,
    upstream_subject: Option<String>,
    client_id: Option<String>,
    version: Option<serde_json::Value>,
    updated_at: Option<i64>,
    token_type: Option<String>,
    scopes: Option<Vec<String>>,
    refresh_expires_at: Option<i64>,
    reauth: Option<String>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(Secret::new))
}

/// The JSON of `row`, wiped when dropped.
///
/// # Errors
/// None that a [`Row`] can cause; the type keeps the caller from having to panic.
pub fn encode(
    row: &Row,
    provider: &ProviderName,
    version: Version,
) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    fn text(secret: Option<&Secret>) -> &str {
        secret.map_or("", Secret::expose)
    }
    let seconds = |time: Option<UnixTime>| time.map(UnixTime::seconds);
    let written = Written {
        provider_id: provider.as_str(),
        access_token: text(row.access_token.as_ref()),
        refresh_token: text(row.refresh_token.as_ref()),
        id_token: text(row.id_token.as_ref()),
        expires_at: seconds(row.expires_at).unwrap_or(0),
        session_expires_at: seconds(row.session_expires_at).unwrap_or(0),
        user_id: row.user_id.as_ref().map_or("", UserId::as_str),
        upstream_subject: row.upstream_subject.as_ref().map_or("", Subject::as_str),
        client_id: row.client_id.as_ref().map_or("", ClientId::as_str),
        version: version.number(),
        updated_at: seconds(row.updated_at),
        token_type: &row.token_type,
        scopes: &row.scopes,
        refresh_expires_at: seconds(row.refresh_expires_at),
        reauth: row.reauth.map(|reason| match reason {
            ReauthReason::Refused => "refused",
            ReauthReason::InDoubt => "in_doubt",
        }),
    };
    // Large enough for most rows, since a buffer that grows leaves its old memory unwiped.
    let mut json = Zeroizing::new(Vec::with_capacity(row.size() + row.size() / 8 + 768));
    serde_json::to_writer(&mut *json, &written)?;
    Ok(json)
}

/// The row that `bytes` hold under the key of `provider`; `None` for `null`. The bytes are wiped.
pub fn decode(bytes: Vec<u8>, provider: &ProviderName) -> Option<Decoded> {
    let bytes = Zeroizing::new(bytes);
    (*bytes != NULL).then(|| decode_row(&bytes, provider))
}

/// The row in `bytes`, which aren't [`NULL`], under the key of `provider`.
pub(super) fn decode_row(bytes: &[u8], provider: &ProviderName) -> Decoded {
    // serde would take an array for the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Unreadable("a JSON array".to_owned()));
    }
    // The error's text would quote the value that has the wrong type: only its place may be told.
    let read: Read = serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() {
            "a field of the wrong type"
        } else {
            "not JSON"
        };
        Unreadable(format!(
            "{what} at byte {} of {}",
            error.column(),
            bytes.len()
        ))
    })?;
    let named = read.provider_id.unwrap_or_default();
    if !named.is_empty() && named != provider.as_str() {
        return Err(Unreadable(
            "provider_id is not the provider in the key".to_owned(),
        ));
    }
    let time = |seconds: Option<i64>| seconds.and_then(UnixTime::from_stored);
    let reauth = match read.reauth.as_deref() {
        None | Some("") => None,
        Some("refused") => Some(ReauthReason::Refused),
        // A reason that this version doesn't know is no leave to use the token.
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
    };
    let version = read.version.as_ref().and_then(version);
    Ok(StoredRow {
        row,
        version: version.unwrap_or_else(|| Version::derived_from(bytes)),
    })
}

/// A version as the scripts understand it, to whom every number is a double.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> ProviderName {
        ProviderName::new("github").unwrap()
    }

    fn decoded(json: &str) -> Decoded {
        decode(json.as_bytes().to_vec(), &provider()).unwrap()
    }

    #[test]
    fn toolhive_reads_what_is_written() {
        let row = Row {
            access_token: Secret::new("at".to_owned()),
            expires_at: UnixTime::from_seconds(1_700_000_000),
            user_id: UserId::new("u").ok(),
            ..Row::default()
        };
        let json = encode(&row, &provider(), Version::from_number(7).unwrap()).unwrap();
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"provider_id":"github","access_token":"at","refresh_token":"","id_token":"","#
                .to_owned()
                + r#""expires_at":1700000000,"session_expires_at":0,"user_id":"u","#
                + r#""upstream_subject":"","client_id":"","version":7}"#
        );
        assert_eq!(
            decoded(std::str::from_utf8(&json).unwrap()).unwrap().row,
            row
        );
    }

    #[test]
    fn a_row_comes_back_whole() {
        let row = Row {
            access_token: Secret::new("a\"\u{1f}ü".to_owned()),
            refresh_token: Secret::new("r".to_owned()),
            id_token: Secret::new("i".to_owned()),
            token_type: "DPoP".to_owned(),
            scopes: vec!["repo".to_owned(), "user:email".to_owned()],
            expires_at: UnixTime::from_seconds(1),
            session_expires_at: UnixTime::from_seconds(2),
            refresh_expires_at: UnixTime::from_seconds(3),
            user_id: UserId::new("u").ok(),
            upstream_subject: Subject::new("s").ok(),
            client_id: ClientId::new("c").ok(),
            updated_at: UnixTime::from_seconds(4),
            reauth: Some(ReauthReason::Refused),
        };
        let version = Version::random();
        let json = encode(&row, &provider(), version).unwrap();
        let back = decode(json.to_vec(), &provider()).unwrap().unwrap();
        assert_eq!(back, StoredRow { row, version });
    }

    #[test]
    fn what_other_software_writes() {
        let row = decoded(r#"{"access_token":null,"scopes":null,"new":{"x":[1.0]}}"#).unwrap();
        assert_eq!(row.row, Row::default());
        let json = r#"{"provider_id":"github","version":"x"}"#;
        assert_eq!(
            decoded(json).unwrap().version,
            Version::derived_from(json.as_bytes())
        );
        assert_eq!(decoded(r#"{"version":5.0}"#).unwrap().version.number(), 5);
        assert!(decode(NULL.to_vec(), &provider()).is_none());
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        for bad in [
            "",
            "{",
            "[]",
            r#"["gho_x","at"]"#,
            r#"{"expires_at":"gho_x"}"#,
            r#"{"provider_id":"gho_x"}"#,
        ] {
            let error = decoded(bad).unwrap_err();
            assert!(!error.to_string().contains("gho_x"), "{error}");
        }
    }
}
