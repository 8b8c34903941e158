//! What a write has to know of a row that it replaces or removes: its version, and in whose index it is.

use serde::Deserialize;

use super::read::decode_row;
use crate::types::{ProviderName, UserId, Version};

/// The largest head that the scripts read, in bytes: that of a user id of 512 bytes. `lib/look.lua` has the
/// same number.
const HEAD_BYTES: usize = 553;

/// The version of a row and its user, as far as the row's bytes tell.
///
/// A row that the broker wrote begins with both, in one spelling: this is its head. The scripts read the head
/// themselves, and it counts even if the rest of the row is damaged, or is of a later kind. Of any other row the
/// scripts know only what is told here, so that no second parser of JSON can disagree with [`super::decode`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The version. `None` if the row can't be read.
    pub version: Option<Version>,
    /// The user that the row belongs to. `None` if it belongs to nobody, or if that can't be told.
    pub user: Option<UserId>,
}

/// What is read of a row that can't be decoded.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    user_id: Option<serde_json::Value>,
}

impl Label {
    /// Returns the label of the row with these bytes. `provider` is the provider in its key, if the key has one.
    #[must_use]
    pub fn of(row: &[u8], provider: Option<&ProviderName>) -> Self {
        if let Some(label) = head(row) {
            return label;
        }
        match decode_row(row, provider) {
            Ok(stored) => Self {
                version: Some(stored.version),
                user: stored.row.user_id,
            },
            Err(_) => Self {
                version: None,
                user: named_user(row),
            },
        }
    }
}

/// Reads the head of a row as `lib/look.lua` does, which alone decides about a row that has one.
fn head(row: &[u8]) -> Option<Label> {
    let rest = row.strip_prefix(br#"{"version":"#)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix(br#","user_id":""#)?;
    let is_plain = |b: &&u8| matches!(b, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
    let (user, rest) = rest.split_at(rest.iter().take_while(is_plain).count());
    let ends = matches!(rest, [b'"', b',' | b'}', ..]);
    if !ends || number.first() == Some(&b'0') || row.len() - rest.len() + 2 > HEAD_BYTES {
        return None;
    }
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    let user = String::from_utf8(user.to_vec()).ok()?;
    Some(Label {
        version: Some(Version::from_number(number)?),
        user: UserId::from_stored(user),
    })
}

fn named_user(row: &[u8]) -> Option<UserId> {
    // serde would also accept an array.
    if row.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let named: Named = serde_json::from_slice(row).ok()?;
    // Nobody is called by an id that breaks the rules.
    UserId::new(named.user_id?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::encode, *};
    use crate::types::Row;

    fn label(version: Option<u64>, user: &str) -> Label {
        Label {
            version: version.and_then(Version::from_number),
            user: UserId::from_stored(user.to_owned()),
        }
    }

    #[test]
    fn a_head_counts_whatever_follows() {
        for (row, expected) in [
            (r#"{"version":7,"user_id":"u"}"#, label(Some(7), "u")),
            (
                r#"{"version":7,"user_id":"","access_to"#,
                label(Some(7), ""),
            ),
            (
                r#"{"version":7,"user_id":"u","version":8}"#,
                label(Some(7), "u"),
            ),
            // What isn't quite a head is read as any other row.
            (r#"{"version":7,"user_id":"u" }"#, label(Some(7), "u")),
            (r#"{"version":7,"user_id":"\u0075"}"#, label(Some(7), "u")),
            (r#"{"version":7,"user_id":"u""#, label(None, "")),
            (r#"{"version":07,"user_id":"u"}"#, label(None, "")),
            (r#"{"access_token":7,"user_id":"u"}"#, label(None, "u")),
            (r#"["u"]"#, label(None, "")),
        ] {
            assert_eq!(Label::of(row.as_bytes(), None), expected, "{row}");
        }
    }

    proptest! {
        /// The head and the fields of a row that was written say the same.
        #[test]
        fn a_written_row_says_it_twice(user in "\\PC{0,20}", long in "u{500,512}", version in 1..1_u64 << 53) {
            let (provider, version) = (ProviderName::new("p").unwrap(), Version::from_number(version).unwrap());
            for user in [user, long] {
                let user = UserId::from_stored(user);
                let row = Row { user_id: user.clone(), ..Row::default() };
                let json = encode(&row, &provider, version).unwrap();
                prop_assert_eq!(Label::of(&json, Some(&provider)), Label { version: Some(version), user });
            }
        }

        /// A readable row has the label that a reader sees.
        #[test]
        fn a_readable_row_is_labelled_as_it_is_read(version in 0_u64..20, user in "[a\"]{0,2}", more in r#"(,"x":1){0,1}"#) {
            let json = format!(r#"{{"version":{version},"user_id":"{user}"{more}}}"#);
            if let Ok(stored) = decode_row(json.as_bytes(), None) {
                let read = Label { version: Some(stored.version), user: stored.row.user_id };
                prop_assert_eq!(Label::of(json.as_bytes(), None), read);
            }
        }
    }
}
