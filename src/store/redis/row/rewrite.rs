//! Rewriting a JSON object without touching unknown fields. Each keeps its bytes and its position.
//!
//! What readers of rows accept can be rewritten. They skip unknown fields, so that such a field may be there twice, or
//! hold text that isn't UTF-8.

use serde::de::IgnoredAny;

use super::write::{FIELDS, encode};
use crate::types::{ProviderName, SecretBytes, StoredRow};

/// The fields that a rewrite looks at.
const LOOKED_AT: [&str; 2] = ["provider_id", "user_id"];

/// The fields of an object in their order.
pub struct Fields<'a>(Vec<Field<'a>>);

struct Field<'a> {
    name: String,
    /// The name as it is spelled, with its quotes.
    spelled: &'a [u8],
    value: &'a [u8],
}

/// Why a value can't be rewritten. The message never quotes the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// The value is not JSON, or is JSON but not an object.
    #[error("is not a JSON object")]
    Syntax,
    /// The object has `provider_id` or `user_id` twice. Readers differ in which of the two they take.
    #[error("is a JSON object that has provider_id or user_id twice")]
    Twice,
    /// `provider_id` is not a string.
    #[error("is a JSON object whose provider_id is not a string")]
    ProviderId,
}

impl<'a> Fields<'a> {
    /// Parses `json`.
    ///
    /// # Errors
    /// Returns [`NotAnObject::Syntax`] or [`NotAnObject::Twice`].
    pub fn parse(json: &'a [u8]) -> Result<Self, NotAnObject> {
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(NotAnObject::Syntax);
        }
        serde_json::from_slice::<IgnoredAny>(json).map_err(|_| NotAnObject::Syntax)?;
        let fields = fields(json).ok_or(NotAnObject::Syntax)?;
        let count = |name| fields.iter().filter(|field| field.name == name).count();
        if LOOKED_AT.iter().any(|name| count(*name) > 1) {
            return Err(NotAnObject::Twice);
        }
        Ok(Self(fields))
    }

    /// Returns the value of `provider_id`. A missing one and `null` count as empty, as in toolhive.
    ///
    /// # Errors
    /// Returns [`NotAnObject::ProviderId`] if the value is neither a string nor `null`.
    pub fn provider_id(&self) -> Result<String, NotAnObject> {
        let Some(value) = self.value("provider_id") else {
            return Ok(String::new());
        };
        serde_json::from_slice::<Option<String>>(value)
            .map(Option::unwrap_or_default)
            .map_err(|_| NotAnObject::ProviderId)
    }

    fn value(&self, name: &str) -> Option<&'a [u8]> {
        let field = self.0.iter().find(|field| field.name == name);
        field.map(|field| field.value)
    }

    /// Returns the object with another `provider_id`, and with the fields in `last`. `provider_id` keeps its
    /// position, or comes first if the object had none. The fields in `last` come last. With a `version` the
    /// object becomes a row of the broker's: `version` and `user_id` come before everything else.
    ///
    /// # Errors
    /// No object causes one.
    pub fn rewrite(
        &self,
        provider_id: &str,
        version: Option<u64>,
        last: &[(&str, u64)],
    ) -> Result<SecretBytes, serde_json::Error> {
        let size: usize = self
            .0
            .iter()
            .map(|field| field.spelled.len() + field.value.len() + 2)
            .sum();
        let room = size + 6 * provider_id.len() + 40 * last.len() + 128;
        let mut json = SecretBytes::with_capacity(room);
        let provider_id = serde_json::to_vec(provider_id)?;
        let mut write = |name: &[u8], value: &[u8]| {
            json.push(if json.is_empty() { b'{' } else { b',' });
            for part in [name, b":", value] {
                json.extend_from_slice(part);
            }
        };
        if let Some(version) = version {
            write(b"\"version\"", version.to_string().as_bytes());
            write(b"\"user_id\"", self.value("user_id").unwrap_or(b"\"\""));
        }
        if self.value("provider_id").is_none() {
            write(b"\"provider_id\"", &provider_id);
        }
        let in_head = |name: &str| version.is_some() && matches!(name, "version" | "user_id");
        for field in &self.0 {
            let name = field.name.as_str();
            if name == "provider_id" {
                write(b"\"provider_id\"", &provider_id);
            } else if !in_head(name) && !last.iter().any(|(set, _)| *set == name) {
                write(field.spelled, field.value);
            }
        }
        for (name, value) in last {
            write(&serde_json::to_vec(name)?, value.to_string().as_bytes());
        }
        json.push(b'}');
        Ok(json)
    }
}

/// Returns the row `stored` as JSON. Of the row with these bytes, which it replaces, it keeps the fields that this version
/// doesn't know, behind all others.
///
/// # Errors
/// Returns a [`NotAnObject`] if the bytes aren't a row's.
pub fn replace(
    bytes: &[u8],
    stored: &StoredRow,
    provider: &ProviderName,
) -> Result<SecretBytes, NotAnObject> {
    let fields = Fields::parse(bytes)?.0;
    let json = encode(&stored.row, provider, stored.version).map_err(|_| NotAnObject::Syntax)?;
    let unknown = || {
        let fields = fields.iter();
        fields.filter(|field| !FIELDS.contains(&field.name.as_str()))
    };
    let sizes = unknown().map(|field| field.spelled.len() + field.value.len() + 2);
    let room: usize = sizes.sum();
    if room == 0 {
        return Ok(json);
    }
    let mut kept = SecretBytes::with_capacity(json.len() + room);
    kept.extend_from_slice(json.strip_suffix(b"}").unwrap_or(&json));
    for field in unknown() {
        for part in [b",", field.spelled, b":", field.value] {
            kept.extend_from_slice(part);
        }
    }
    kept.push(b'}');
    Ok(kept)
}

/// Finds the fields of an object. `None` if it isn't one, or the name of a field isn't UTF-8. What is in the fields has
/// to be valid JSON.
fn fields(json: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::with_capacity(16);
    let mut rest = json
        .trim_ascii_start()
        .strip_prefix(b"{")?
        .trim_ascii_start();
    while rest.first() == Some(&b'"') {
        let (spelled, after) = rest.split_at_checked(string(rest)?)?;
        let after = after.trim_ascii_start().strip_prefix(b":")?;
        let (value, after) = after.split_at_checked(value(after)?)?;
        fields.push(Field {
            name: serde_json::from_slice(spelled).ok()?,
            spelled,
            value: value.trim_ascii(),
        });
        rest = after.strip_prefix(b",").unwrap_or(after).trim_ascii_start();
    }
    rest.starts_with(b"}").then_some(fields)
}

/// Returns the length of the string that this begins with, with its quotes.
fn string(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Returns how far the value goes that this begins with: up to the comma or bracket that follows it.
fn value(json: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match json.get(at)? {
            b',' | b'}' if depth == 0 => return Some(at),
            b'"' => at += string(&json[at..])? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::Value;

    use super::*;
    use crate::types::{
        ClientId, Envelope, Origin, ReauthReason, Row, Secret, Subject, UnixTime, UserId, Version,
    };

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            r#"[a"\\\\{}\[\],:]{0,6}"#.prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let object = vec(("[a-c]", inner.clone()), 0..3);
            prop_oneof![
                vec(inner, 0..3).prop_map(Value::from),
                object.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn rewritten(json: &str) -> String {
        let fields = Fields::parse(json.as_bytes()).unwrap();
        let bytes = fields.rewrite("okta", Some(7), &[("mark", 8)]).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_is_not_known_keeps_its_bytes_and_its_place() {
        assert_eq!(
            rewritten(
                r#"{"a":1.0,"provider_id":"oidc","n":12345678901234567890123,"e":[],"o":{"x": "\u00fc"}}"#
            ),
            r#"{"version":7,"user_id":"","a":1.0,"provider_id":"okta","n":12345678901234567890123,"e":[],"o":{"x": "\u00fc"},"mark":8}"#
        );
    }

    #[test]
    fn without_a_version_nothing_else_moves() {
        let fields = Fields::parse(br#"{"provider_id":"oidc","user_id":"u","version":1}"#).unwrap();
        let bytes = fields.rewrite("okta", None, &[]).unwrap();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            r#"{"provider_id":"okta","user_id":"u","version":1}"#
        );
    }

    #[test]
    fn a_field_that_is_set_is_there_once() {
        assert_eq!(
            rewritten(r#"{"version":"x","a":null,"user_id":"\u0075","mark":1}"#),
            r#"{"version":7,"user_id":"\u0075","provider_id":"okta","a":null,"mark":8}"#
        );
        assert_eq!(
            rewritten("{}"),
            r#"{"version":7,"user_id":"","provider_id":"okta","mark":8}"#
        );
    }

    #[test]
    fn what_cannot_be_rewritten() {
        for bad in ["", "null", "[1]", "7", "{", "{}x", "{\"a\":\"\u{1}\"}"] {
            let error = Fields::parse(bad.as_bytes()).err();
            assert_eq!(error, Some(NotAnObject::Syntax), "{bad}");
        }
        // The name of a field that isn't UTF-8 can't be compared.
        assert!(Fields::parse(b"{\"\xff\":1}").is_err());
        // The second name is the first one in another spelling.
        for twice in [
            r#"{"user_id":1,"\u0075ser_id":1}"#,
            r#"{"provider_id":"a","provider_id":"b"}"#,
        ] {
            let error = Fields::parse(twice.as_bytes()).err();
            assert_eq!(error, Some(NotAnObject::Twice), "{twice}");
        }
    }

    /// A new field of a row has to be named here, and so in [`FIELDS`].
    #[test]
    fn a_row_that_replaces_another_keeps_what_is_not_known() {
        let stored = StoredRow {
            row: Row {
                access_token: Secret::new("new".to_owned()),
                refresh_token: Secret::new("r".to_owned()),
                id_token: Secret::new("i".to_owned()),
                token_type: "DPoP".to_owned(),
                scopes: vec!["s".to_owned()],
                expires_at: UnixTime::from_seconds(1),
                session_expires_at: UnixTime::from_seconds(2),
                refresh_expires_at: UnixTime::from_seconds(3),
                user_id: UserId::new("u").ok(),
                upstream_subject: Subject::new("sub").ok(),
                client_id: ClientId::new("c").ok(),
                updated_at: UnixTime::from_seconds(4),
                reauth: Some(ReauthReason::Refused),
                origin: Origin::from_stored("https://idp".to_owned(), "broker".to_owned()),
                sealed: Some(Envelope::from_stored("1.k.x".to_owned())),
            },
            version: Version::random(),
        };
        let provider = ProviderName::new("p").unwrap();
        let full = encode(&stored.row, &provider, stored.version).unwrap();
        let names = Fields::parse(&full).unwrap().0.into_iter();
        assert!(names.map(|field| field.name).eq(FIELDS));

        let bare = StoredRow {
            row: Row {
                access_token: Secret::new("new".to_owned()),
                ..Row::default()
            },
            version: stored.version,
        };
        let expected = encode(&bare.row, &provider, bare.version).unwrap();
        assert!(replace(&full, &bare, &provider).unwrap() == expected);
        let text = String::from_utf8(full.to_vec()).unwrap();
        let later = text.replace(r#""id_token""#, r#""x":{"a" : 1},"id_token""#);
        let later = later.replace(r#","reauth""#, r#","y":[],"reauth""#);
        let kept = replace(later.as_bytes(), &bare, &provider).unwrap();
        let expected = String::from_utf8(expected.to_vec()).unwrap();
        let expected = expected.replace('}', r#","x":{"a" : 1},"y":[]}"#);
        assert_eq!(str::from_utf8(&kept).unwrap(), expected);
    }

    #[test]
    fn what_readers_skip_is_kept() {
        let json: &[u8] =
            b" {\"x\" : \"\xff\\\"}\" ,\"\\u0078\":[{\"a\":\"]\"},1] , \"user_id\":\"u\"}\n";
        let rewritten = Fields::parse(json).unwrap().rewrite("okta", Some(7), &[]);
        let expected: &[u8] =
            b"{\"version\":7,\"user_id\":\"u\",\"provider_id\":\"okta\",\"x\":\"\xff\\\"}\",\"\\u0078\":[{\"a\":\"]\"},1]}";
        assert_eq!(*rewritten.unwrap(), *expected);
    }

    proptest! {
        /// An object of any fields keeps them, in their order.
        #[test]
        fn any_object_is_rewritten(fields in vec((r#"[a-c"\\\\{},:]{0,4}"#, any_value()), 0..4)) {
            let text = |value: &Value| serde_json::to_string(value).unwrap();
            let spelled: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", text(&name.as_str().into()), text(value)))
                .collect();
            let json = format!("{{{}}}", spelled.join(","));
            let rewritten = Fields::parse(json.as_bytes()).unwrap().rewrite("p", None, &[]).unwrap();
            let all = [vec![r#""provider_id":"p""#.to_owned()], spelled].concat();
            prop_assert_eq!(String::from_utf8(rewritten.to_vec()).unwrap(), format!("{{{}}}", all.join(",")));
        }
    }

    #[test]
    fn a_provider_id_is_text_or_none() {
        let of = |json: &str| Fields::parse(json.as_bytes()).unwrap().provider_id();
        assert_eq!(of(r#"{"provider_id":"oi\u0064c"}"#).as_deref(), Ok("oidc"));
        assert_eq!(of(r#"{"provider_id":null}"#).as_deref(), Ok(""));
        assert_eq!(of("{}").as_deref(), Ok(""));
        for bad in ["7", "true", "[\"oidc\"]", "{}"] {
            let json = format!(r#"{{"provider_id":{bad}}}"#);
            assert_eq!(of(&json), Err(NotAnObject::ProviderId));
        }
    }
}
