//! Reads the body of an answer, in all the forms that providers use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{TokenAnswer, Why};
use crate::types::{MAX_TOKEN_TYPE_BYTES, Secret, SecretBytes, is_token, wipe, without_mark};

/// The longest life that is believed.
const LONGEST: u64 = 100 * 366 * 86_400;

/// Where answers say how long the refresh token lives: GitHub, QuickBooks and Keycloak have a name each.
const REFRESH_ENDS: [&str; 4] = [
    "refresh_token_expires_in",
    "x_refresh_token_expires_in",
    "refresh_expires_in",
    "refresh_token_expires",
];

/// A JSON value whose texts are wiped when it is dropped.
pub(super) struct Wiped(pub Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe_texts(&mut self.0);
    }
}

fn wipe_texts(value: &mut Value) {
    match value {
        Value::String(text) => wipe(std::mem::take(text).into_bytes()),
        Value::Array(items) => items.iter_mut().for_each(wipe_texts),
        Value::Object(members) => members.values_mut().for_each(wipe_texts),
        _ => {}
    }
}

/// The body of an answer.
pub(super) struct Body(Wiped);

impl Body {
    /// Reads a body: JSON, or a form where it is said to be one or looks like one. Returns `None` if it is neither.
    pub fn read(bytes: &[u8], is_form: bool) -> Option<Self> {
        // Some servers put a byte order mark in front.
        let bytes = without_mark(bytes);
        let json = || {
            let value = serde_json::from_slice(bytes).map(Wiped).ok();
            value.filter(|value| value.0.is_object())
        };
        let value = if is_form {
            form(bytes).or_else(json)
        } else {
            json().or_else(|| form(bytes))
        };
        value.map(Self)
    }

    /// Returns the code of an error, if the answer is one.
    pub fn error(&self) -> Option<&str> {
        let code = self.0.0.get("error")?;
        // Some providers wrap the code.
        let code = code.as_str().or_else(|| {
            let within = ["code", "type", "message"];
            within.iter().find_map(|name| code.get(name)?.as_str())
        });
        code.filter(|code| !code.is_empty())
    }

    /// Returns a code that isn't where OAuth has it (HubSpot).
    pub fn other_code(&self) -> Option<&str> {
        self.0.0.get("status")?.as_str()
    }

    /// Whether the answer says that it is no success: `"ok": false` (Slack).
    pub fn is_not_ok(&self) -> bool {
        self.0.0.get("ok") == Some(&Value::Bool(false))
    }

    /// Whether there is an access token, even a senseless one.
    pub fn has_access_token(&self, within: Option<&str>) -> bool {
        self.0.0.get("access_token").is_some() || within.is_some_and(|at| self.is_within(at))
    }

    fn is_within(&self, pointer: &str) -> bool {
        let inner = self.0.0.pointer(pointer);
        inner.is_some_and(|inner| inner.get("access_token").is_some())
    }

    /// Returns the tokens, which are in the object at the JSON pointer `within` if that is there, and else in the answer
    /// itself.
    ///
    /// # Errors
    /// Returns [`Why::NoAccessToken`], or [`Why::Unreadable`] if the refresh token isn't a text, or a token is one that no
    /// caller may store.
    pub fn tokens(mut self, within: Option<&str>) -> Result<TokenAnswer, Why> {
        let object = match within {
            Some(pointer) if self.is_within(pointer) => self.0.0.pointer_mut(pointer),
            _ => Some(&mut self.0.0),
        };
        let object = object.and_then(Value::as_object_mut);
        let object = object.ok_or(Why::NoAccessToken)?;
        // A refresh token that can't be read would be taken for one that is kept.
        let refresh_token = object.get("refresh_token");
        if !matches!(refresh_token, None | Some(Value::Null | Value::String(_))) {
            return Err(Why::Unreadable);
        }
        let access_token = secret(object, "access_token").ok_or(Why::NoAccessToken)?;
        let refresh_token = secret(object, "refresh_token");
        let id_token = secret(object, "id_token");
        let mut others = refresh_token.iter().chain(&id_token);
        if !is_token(&access_token) || !others.all(is_token) {
            return Err(Why::Unreadable);
        }
        Ok(TokenAnswer {
            access_token,
            refresh_token,
            id_token,
            token_type: token_type(object),
            scopes: scopes(object.get("scope")),
            expires_in: expires_in(object),
            refresh_expires_in: REFRESH_ENDS
                .iter()
                .find_map(|name| span(object.get(*name)?))
                // Keycloak's offline tokens have no end, which it writes as 0.
                .filter(|span| !span.is_zero()),
        })
    }
}

/// Returns the code of an error in a body, if there is one.
pub(in super::super) fn error_code(bytes: &[u8], is_form: bool) -> Option<String> {
    let body = Body::read(bytes, is_form)?;
    body.error().map(str::to_owned)
}

/// Reads a form. Returns `None` unless it has a field that an answer may have.
fn form(bytes: &[u8]) -> Option<Wiped> {
    let text = str::from_utf8(bytes).ok()?.trim();
    let mut form = Wiped(Value::Object(Map::new()));
    let fields = form.0.as_object_mut()?;
    for pair in text.split('&') {
        let (name, value) = pair.split_once('=')?;
        let value = Value::String(decoded(value)?);
        fields.insert(name.to_owned(), value).map(Wiped);
    }
    let is_answer = ["access_token", "error"]
        .iter()
        .any(|name| fields.contains_key(*name));
    is_answer.then_some(form)
}

/// Returns what a value of a form stands for. It may be a token, and there is no copy of it.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = SecretBytes::with_capacity(value.len());
    for (at, part) in value.split('+').enumerate() {
        if at > 0 {
            bytes.push(b' ');
        }
        percent_decode_str(part).for_each(|byte| bytes.push(byte));
    }
    str::from_utf8(&bytes).ok()?;
    String::from_utf8(bytes.into_exposed()).ok()
}

fn secret(object: &mut Map<String, Value>, name: &str) -> Option<Secret> {
    match object.get_mut(name)?.take() {
        Value::String(text) => Secret::new(text),
        _ => None,
    }
}

fn token_type(object: &Map<String, Value>) -> Option<String> {
    let text = object.get("token_type")?.as_str()?;
    let is_right = (1..=MAX_TOKEN_TYPE_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_right.then(|| text.to_owned())
}

/// Returns the scopes, which are divided by blanks or commas, or an array. An empty text says nothing.
fn scopes(scope: Option<&Value>) -> Option<Vec<String>> {
    let texts: Vec<&str> = match scope? {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    // No scope of a row has white space or a control character.
    let divides = |c: char| c == ',' || c.is_whitespace() || c.is_control();
    let scopes = texts.iter().flat_map(|text| text.split(divides));
    let scopes = scopes.filter(|scope| !scope.is_empty()).map(str::to_owned);
    let scopes: Vec<_> = scopes.collect();
    (!scopes.is_empty()).then_some(scopes)
}

/// Returns how long the access token lives. Providers write 0 where they don't say: nobody gives out a token that is worth
/// nothing. Where there is no span, some tell the time of its end (Azure AD's first version: `expires_on`).
fn expires_in(object: &Map<String, Value>) -> Option<Duration> {
    let told = object.get("expires_in").and_then(span);
    told.filter(|span| !span.is_zero()).or_else(|| {
        let ends = ["expires_at", "expires_on"];
        let ends = ends.iter().find_map(|name| span(object.get(*name)?))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        // Larger numbers are no seconds.
        let left = ends.checked_sub(now).filter(|_| ends.as_secs() < LONGEST);
        left.filter(|left| !left.is_zero())
    })
}

/// Returns a span in seconds, which may be written as a text.
fn span(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast keeps to the range, and the value isn't negative"
    )]
    let seconds = (seconds as u64).min(LONGEST);
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str, within: Option<&str>) -> TokenAnswer {
        let body = Body::read(text.as_bytes(), false).unwrap();
        body.tokens(within).unwrap()
    }

    #[test]
    fn a_plain_answer() {
        let answer = tokens(
            r#"{"access_token":"a","refresh_token":"r","id_token":"i","token_type":"bearer","scope":"x y","expires_in":3600}"#,
            None,
        );
        assert_eq!(answer.access_token.expose(), "a");
        assert_eq!(answer.refresh_token.unwrap().expose(), "r");
        assert_eq!(answer.id_token.unwrap().expose(), "i");
        assert_eq!(answer.token_type.as_deref(), Some("bearer"));
        assert_eq!(answer.scopes.unwrap(), ["x", "y"]);
        assert_eq!(answer.expires_in, Some(Duration::from_secs(3600)));
        assert_eq!(answer.refresh_expires_in, None);
    }

    #[test]
    fn a_byte_order_mark_loses_no_token() {
        let answer = tokens("\u{feff}{\"access_token\":\"a\"}", None);
        assert_eq!(answer.access_token.expose(), "a");
    }

    #[test]
    fn github_answers_forms_and_numbers_as_texts() {
        let text = "access_token=ghu_a&expires_in=28800&refresh_token=ghr_b%2B&refresh_token_expires_in=15897600&scope=&token_type=bearer";
        let answer = tokens(text, None);
        assert_eq!(answer.refresh_token.unwrap().expose(), "ghr_b+");
        assert_eq!(answer.expires_in, Some(Duration::from_secs(28_800)));
        assert_eq!(
            answer.refresh_expires_in,
            Some(Duration::from_secs(15_897_600))
        );
        assert_eq!(answer.scopes, None);
        let answer = tokens(r#"{"access_token":"a","expires_in":"28800"}"#, None);
        assert_eq!(answer.expires_in, Some(Duration::from_secs(28_800)));
    }

    #[test]
    fn a_refresh_token_whose_end_is_0_has_none() {
        let answer = tokens(r#"{"access_token":"a","refresh_expires_in":0}"#, None);
        assert_eq!(answer.refresh_expires_in, None);
    }

    #[test]
    fn a_life_of_0_is_none_that_the_answer_tells() {
        for life in ["0", "\"0\"", "0.4", "-1", "null", "\"\""] {
            let answer = tokens(
                &format!(r#"{{"access_token":"a","expires_in":{life}}}"#),
                None,
            );
            assert_eq!(answer.expires_in, None, "{life}");
        }
    }

    #[test]
    fn the_time_of_the_end_counts_where_no_span_is_told() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let end = now.as_secs() + 1_800;
        for (fields, life) in [
            (format!(r#""expires_at":{end}"#), Some(1_800)),
            (format!(r#""expires_on":"{end}""#), Some(1_800)),
            (format!(r#""expires_in":0,"expires_on":{end}"#), Some(1_800)),
            (format!(r#""expires_in":60,"expires_on":{end}"#), Some(60)),
            (r#""expires_at":1800"#.to_owned(), None),
            (r#""expires_at":"2030-01-01T00:00:00Z""#.to_owned(), None),
            // In milliseconds.
            (format!(r#""expires_at":{end}000"#), None),
        ] {
            let answer = tokens(&format!(r#"{{"access_token":"a",{fields}}}"#), None);
            let about = answer
                .expires_in
                .map(|life| life.as_secs().div_ceil(60) * 60);
            assert_eq!(about, life, "{fields}");
        }
    }

    #[test]
    fn a_refresh_token_that_is_no_text_makes_the_answer_unreadable() {
        let body = Body::read(br#"{"access_token":"a","refresh_token":5}"#, false).unwrap();
        assert_eq!(body.tokens(None), Err(Why::Unreadable));
    }

    /// A line break in a token would begin another header wherever the token is sent. An answer has no token but the right ones.
    #[test]
    fn a_token_with_a_control_character_makes_the_answer_unreadable() {
        for token in ["access_token", "refresh_token", "id_token"] {
            for odd in ["a\\r\\nX: y", "\\u0000", "a\\u007f", "\\u0085b"] {
                let text = format!(r#"{{"access_token":"a","{token}":"{odd}"}}"#);
                let body = Body::read(text.as_bytes(), false).unwrap();
                assert_eq!(body.tokens(None), Err(Why::Unreadable), "{text}");
            }
        }
        let form = Body::read(b"access_token=a%0D%0AX:+y", true).unwrap();
        assert_eq!(form.tokens(None), Err(Why::Unreadable));
        let odd = tokens(r#"{"access_token":"a b~é","scope":"x\ty\u0000z\n"}"#, None);
        assert_eq!(odd.access_token.expose(), "a b~é");
        assert_eq!(odd.scopes.unwrap(), ["x", "y", "z"]);
    }

    #[test]
    fn each_name_of_the_refresh_tokens_end_is_read() {
        for name in REFRESH_ENDS {
            let answer = tokens(&format!(r#"{{"access_token":"a","{name}":8640000}}"#), None);
            assert_eq!(
                answer.refresh_expires_in,
                Some(Duration::from_secs(8_640_000)),
                "{name}"
            );
        }
    }

    #[test]
    fn slack_nests_the_tokens_of_a_user() {
        let text = r#"{"ok":true,"access_token":"xoxb","refresh_token":"b","authed_user":{"id":"U1","access_token":"xoxp","refresh_token":"u","expires_in":43200}}"#;
        assert_eq!(tokens(text, None).access_token.expose(), "xoxb");
        let nested = tokens(text, Some("/authed_user"));
        assert_eq!(nested.access_token.expose(), "xoxp");
        assert_eq!(nested.refresh_token.unwrap().expose(), "u");
        // Refreshing them answers on the top level.
        let flat = tokens(
            r#"{"ok":true,"access_token":"xoxp","authed_user":{"id":"U1"}}"#,
            Some("/authed_user"),
        );
        assert_eq!(flat.access_token.expose(), "xoxp");
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let text = r#"{"access_token":"a","refresh_token":"","id_token":7,"token_type":"a b","scope":3,"expires_in":-5,"issued_at":"1600000000000"}"#;
        let answer = tokens(text, None);
        assert_eq!((answer.refresh_token, answer.id_token), (None, None));
        assert_eq!((answer.token_type, answer.scopes), (None, None));
        assert_eq!(answer.expires_in, None);
        let linear = tokens(
            r#"{"access_token":"a","scope":["read","write"],"expires_in":1e300}"#,
            None,
        );
        assert_eq!(linear.scopes.unwrap(), ["read", "write"]);
        assert_eq!(linear.expires_in, Some(Duration::from_secs(LONGEST)));
        let github = tokens(r#"{"access_token":"a","scope":"repo,user:email"}"#, None);
        assert_eq!(github.scopes.unwrap(), ["repo", "user:email"]);
        for text in [
            "",
            "[]",
            "null",
            "\"a\"",
            "<html>",
            "a=b",
            "{\"access_token\":\"a\"",
            "{} {}",
        ] {
            assert!(Body::read(text.as_bytes(), false).is_none(), "{text}");
        }
        for text in ["{}", r#"{"access_token":""}"#, r#"{"access_token":{}}"#] {
            let body = Body::read(text.as_bytes(), false).unwrap();
            assert_eq!(body.tokens(None), Err(Why::NoAccessToken), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, is_form: bool) {
            if let Some(body) = Body::read(&bytes, is_form) {
                body.error();
                drop(body.tokens(Some("/a")));
            }
        }

        #[test]
        fn no_json_makes_the_reader_panic(
            name in "access_token|refresh_token|expires_in|scope|error|token_type|ok",
            value in "null|true|-1|1e400|0.5|\"[a-z ,]{0,9}\"|\\[1,\"a\"\\]|\\{\"code\":\"a\"\\}",
            within in "(/[a-z~0-9]{0,3}){0,3}",
        ) {
            let text = format!(r#"{{"access_token":"t","{name}":{value}}}"#);
            if let Some(body) = Body::read(text.as_bytes(), false) {
                body.error();
                drop(body.tokens(Some(&within)));
            }
        }

        #[test]
        fn a_form_comes_back(token in "[ -~é]{1,40}") {
            let mut form = super::super::super::form::Form::new();
            form.add("access_token", &token);
            let body = Body::read(&form.into_body(), true).unwrap();
            let answer = body.tokens(None).unwrap();
            prop_assert_eq!(answer.access_token.expose(), token);
        }
    }
}
