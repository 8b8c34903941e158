//! What has to become of a row whose bytes were changed, found out without the code that is judged.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{prelude::TestCaseError, prop_assert, prop_assert_eq};
use serde_json::Value;
use testkit::sealing;
use token_broker::{
    error::Unreadable,
    store::{Decoded, redis::row},
    types::StoredRow,
};

use super::kinds::{KEYS, Kind};

/// A reader of sealed rows.
pub type Open = fn(&Kind, StoredRow, bool) -> Decoded;

/// What becomes of the bytes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// There is no row any more.
    NoRow,
    /// It opens as it was: nothing that counts was changed.
    Same,
    /// It has no envelope any more, and is taken for a plain one.
    Plain,
    /// It can't be read at all.
    NoJson,
    WrongType,
    Array,
    AnotherProvider,
    /// A text in it is one that no caller may store.
    BadText,
    /// It is plain where all have to be sealed.
    NotSealed,
    /// It has both an envelope and a token.
    HalfSealed,
    /// What it has isn't an envelope.
    NoEnvelope,
    /// Its envelope doesn't open.
    Changed,
    /// The key that its envelope names isn't here.
    KeyMissing,
}

impl Outcome {
    /// Returns what the reason of a row that is damaged has to say.
    fn says(self) -> &'static str {
        match self {
            Self::NoJson => "not JSON at byte",
            Self::WrongType => "a field of the wrong type at byte",
            Self::Array => "a JSON array",
            Self::AnotherProvider => "provider_id is not the provider in the key",
            Self::BadText => " must ",
            Self::NotSealed => "it isn't sealed, and require-sealed is on",
            Self::HalfSealed => "it is half plain and half sealed",
            Self::NoEnvelope => "it has no envelope of a form that is known",
            Self::Changed => "its envelope doesn't open",
            Self::NoRow | Self::Same | Self::Plain | Self::KeyMissing => "nothing of the kind",
        }
    }
}

/// Returns what has become of a row with these bytes, or an error if that isn't what has to.
pub fn judge(
    kind: &Kind,
    bytes: &[u8],
    only_sealed: bool,
    open: Open,
) -> Result<Outcome, TestCaseError> {
    let Some(decoded) = row::decode(bytes, &kind.key.provider) else {
        return Ok(Outcome::NoRow);
    };
    let stored = match decoded {
        Ok(stored) => stored,
        Err(unreadable) => return not_read(bytes, &unreadable),
    };
    let (expected, names) = expected(kind, &stored, only_sealed);
    match (open(kind, stored.clone(), only_sealed), expected) {
        (Ok(opened), Outcome::Same) => prop_assert!(opened == kind.stored, "another row"),
        (Ok(opened), Outcome::Plain) => prop_assert!(opened == stored, "not as it lies there"),
        (Ok(_), _) => prop_assert!(false, "it opens: {expected:?}"),
        (Err(Unreadable::KeyMissing(missing)), Outcome::KeyMissing) => {
            prop_assert_eq!(Some(missing.key.as_str()), names.as_deref());
            let mut shown = stored;
            shown.row.sealed = None;
            prop_assert!(missing.shown == shown, "shown otherwise");
        }
        (Err(Unreadable::Damaged(why)), _) => {
            prop_assert!(why.0.contains(expected.says()), "{expected:?}: {why}");
            quotes_nothing(&why.0)?;
        }
        (Err(why), _) => prop_assert!(false, "{expected:?}: {why}"),
    }
    Ok(expected)
}

/// Judges why bytes can't be read.
fn not_read(bytes: &[u8], unreadable: &Unreadable) -> Result<Outcome, TestCaseError> {
    let Unreadable::Damaged(why) = unreadable else {
        prop_assert!(false, "no key is known yet: {unreadable}");
        return Ok(Outcome::KeyMissing);
    };
    quotes_nothing(&why.0)?;
    let all = [
        Outcome::NoJson,
        Outcome::WrongType,
        Outcome::Array,
        Outcome::AnotherProvider,
        Outcome::BadText,
    ];
    let found = all
        .into_iter()
        .find(|outcome| why.0.contains(outcome.says()));
    let Some(found) = found else {
        prop_assert!(false, "an unknown reason: {why}");
        return Ok(Outcome::NoJson);
    };
    if found == Outcome::NoJson {
        let json = serde_json::from_slice::<Value>(bytes);
        prop_assert!(json.is_err(), "it is JSON");
    }
    Ok(found)
}

/// Returns what has to become of a row that says this, and the key that its envelope names.
fn expected(kind: &Kind, stored: &StoredRow, only_sealed: bool) -> (Outcome, Option<String>) {
    let Some(envelope) = &stored.row.sealed else {
        let outcome = match only_sealed {
            true => Outcome::NotSealed,
            false => Outcome::Plain,
        };
        return (outcome, None);
    };
    let row = &stored.row;
    let tokens = [&row.access_token, &row.refresh_token, &row.id_token];
    if tokens.into_iter().any(Option::is_some) {
        return (Outcome::HalfSealed, None);
    }
    let Some((key, fingerprint)) = named(envelope.as_str()) else {
        return (Outcome::NoEnvelope, None);
    };
    let is_here = |name: &&str| sealing::key(name).id().fingerprint() == fingerprint;
    let outcome = match KEYS.iter().any(is_here) {
        false => Outcome::KeyMissing,
        true if *stored == kind.said => Outcome::Same,
        true => Outcome::Changed,
    };
    (outcome, Some(key))
}

/// Returns the key that an envelope names, and its fingerprint. `None` if it isn't one.
fn named(envelope: &str) -> Option<(String, String)> {
    let parts: Vec<_> = envelope.splitn(4, '.').collect();
    let [form, name, fingerprint, text] = parts[..] else {
        return None;
    };
    let is_name = (1..=64).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let is_fingerprint =
        fingerprint.len() == 16 && fingerprint.chars().all(|c| "0123456789abcdef".contains(c));
    // A salt of 32 bytes and a tag of 16.
    let is_whole = URL_SAFE_NO_PAD
        .decode(text)
        .is_ok_and(|bytes| bytes.len() >= 48);
    let is_one = form == "1" && is_name && is_fingerprint && is_whole;
    is_one.then(|| (format!("{name}.{fingerprint}"), fingerprint.to_owned()))
}

/// No reason quotes a token, an id, or what somebody planted.
fn quotes_nothing(why: &str) -> Result<(), TestCaseError> {
    for secret in ["xyzzy", "subject-of", "planted", "openid"] {
        prop_assert!(!why.contains(secret), "it quotes {secret}: {why}");
    }
    Ok(())
}
