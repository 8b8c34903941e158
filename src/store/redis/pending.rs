//! Pending authorizations as JSON, in the broker's own spelling. Its first field tells them from what other software keeps
//! under such keys, and from those that were taken.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{
    error::Unopened,
    types::{
        ClientId, Envelope, Nonce, Payload, PendingAuthorization, ProviderName, SecretBytes,
        SessionId, UnixTime, UserId,
    },
};

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    /// The id. It comes first: the scripts read it.
    broker: String,
    #[serde(borrow)]
    provider: Cow<'a, str>,
    session: Cow<'a, str>,
    client: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    expires_at: i64,
    /// In base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// A payload in base64. It is wiped when it is dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Base64(String);

impl Drop for Base64 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What the broker's own pending authorizations begin with.
const BEGINS: &[u8] = br#"{"broker":""#;

/// Returns the JSON of a pending authorization.
///
/// # Errors
/// Returns what the encoder says.
pub fn encode(pending: &PendingAuthorization) -> Result<SecretBytes, serde_json::Error> {
    let (payload, sealed) = match &pending.payload {
        Payload::Plain(bytes) => (Some(Base64(STANDARD.encode(&**bytes))), None),
        Payload::Sealed(envelope) => (None, Some(envelope.as_str().to_owned())),
    };
    let size = payload.as_ref().map_or(0, |payload| payload.0.len());
    let stored = Stored {
        broker: pending.id.to_string(),
        provider: pending.provider.as_str().into(),
        session: pending.session.as_str().into(),
        client: pending.client.as_str().into(),
        user: pending.user.as_ref().map(|user| user.as_str().into()),
        expires_at: pending.expires_at.seconds(),
        payload,
        sealed,
    };
    // An id may take six bytes for each of its own.
    let mut json = SecretBytes::with_capacity(size + 4 * 6 * 512 + 32 * 1024);
    serde_json::to_writer(&mut json, &stored)?;
    Ok(json)
}

/// Reads a pending authorization. Returns `None` if the value is of other software, or says who took it.
pub fn decode(json: &[u8]) -> Option<Result<PendingAuthorization, Unopened>> {
    let is_own = json.starts_with(BEGINS);
    is_own.then(|| read(json).ok_or_else(|| Unopened::damaged("it isn't JSON of the right form")))
}

fn read(json: &[u8]) -> Option<PendingAuthorization> {
    let stored: Stored<'_> = serde_json::from_slice(json).ok()?;
    let payload = match (stored.payload, stored.sealed) {
        (Some(payload), None) => {
            Payload::Plain(SecretBytes::new(STANDARD.decode(&payload.0).ok()?))
        }
        (None, Some(envelope)) => Payload::Sealed(Envelope::from_stored(envelope)),
        // Half plain and half sealed, or neither.
        _ => return None,
    };
    let id = Nonce::from_hex(&stored.broker)?;
    // The scripts compare the head as it is spelled. Of another spelling nobody could take it.
    if !json.starts_with(format!("{{\"broker\":\"{id}\",").as_bytes()) {
        return None;
    }
    Some(PendingAuthorization {
        id,
        provider: ProviderName::new(stored.provider).ok()?,
        session: SessionId::new(stored.session).ok()?,
        client: ClientId::new(stored.client).ok()?,
        user: match stored.user {
            Some(user) => Some(UserId::new(user).ok()?),
            None => None,
        },
        expires_at: UnixTime::from_stored(stored.expires_at)?,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> PendingAuthorization {
        PendingAuthorization {
            id: Nonce::random(),
            provider: ProviderName::new("okta").unwrap(),
            session: SessionId::new("s\"1").unwrap(),
            client: ClientId::new("c").unwrap(),
            user: None,
            expires_at: UnixTime::now(),
            payload: Payload::Plain(SecretBytes::new(vec![0, 255, 7])),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let pending = pending();
        let json = encode(&pending).unwrap();
        let head = format!("{{\"broker\":\"{}\",", pending.id);
        assert!(json.starts_with(head.as_bytes()));
        assert_eq!(head.len(), 45, "as the scripts read it");
        let read = decode(&json).unwrap().unwrap();
        assert_eq!(read.id, pending.id);
        assert_eq!(read.session, pending.session);
        assert_eq!(read.user, None);
        assert!(matches!(read.payload, Payload::Plain(bytes) if *bytes == [0, 255, 7]));
    }

    /// What the scripts wouldn't take is damaged, and not somebody else's.
    #[test]
    fn a_head_that_is_spelled_otherwise_is_damaged() {
        let id = "0123456789abcdef0123456789abcdef";
        let json = encode(&PendingAuthorization {
            id: Nonce::from_hex(id).unwrap(),
            ..pending()
        });
        let json = String::from_utf8(json.unwrap().to_vec()).unwrap();
        assert!(decode(json.as_bytes()).unwrap().is_ok());
        for (from, to) in [
            ("abcdef\"", "abcdeF\""),
            ("abcdef\"", "abcde\\u0066\""),
            ("abcdef\"", "abcdef\" "),
        ] {
            let spelled = json.replacen(from, to, 1);
            assert_ne!(spelled, json);
            assert!(decode(spelled.as_bytes()).unwrap().is_err(), "{spelled}");
        }
    }

    #[test]
    fn what_others_wrote_is_none() {
        for json in [
            "",
            "null",
            "{}",
            r#"{"taken":"00"}"#,
            r#"{"client_id":"c"}"#,
        ] {
            assert!(decode(json.as_bytes()).is_none(), "{json}");
        }
        for json in [r#"{"broker":""#, r#"{"broker":"00"}"#] {
            assert!(decode(json.as_bytes()).unwrap().is_err(), "{json}");
        }
    }
}
