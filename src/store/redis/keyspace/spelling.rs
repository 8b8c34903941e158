//! How an id is spelled inside a key.

use std::ops::Deref;

use zeroize::Zeroizing;

use crate::types::SessionId;

/// How a session called `idx` is spelled. If it weren't encoded, its rows would look like session indexes.
const SESSION_IDX: &str = "%69dx";

/// An id as it stands in a key.
pub enum Spelled<'i> {
    /// It is plain.
    AsItIs(&'i str),
    /// It is encoded, and wiped as the key is.
    Encoded(Zeroizing<String>),
}

impl Deref for Spelled<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::AsItIs(id) => id,
            Self::Encoded(encoded) => encoded,
        }
    }
}

/// Percent-encodes the characters that could give two ids the same key, or end a hash tag. Plain ids stay as
/// they are, so that toolhive finds them. `scripts/lib/encode.lua` does the same.
pub fn encode(id: &str) -> Spelled<'_> {
    let odd = id.chars().filter(|&c| is_odd(c)).count();
    if odd == 0 {
        return Spelled::AsItIs(id);
    }
    // A text that grows leaves a copy behind. An odd character takes three.
    let mut encoded = Zeroizing::new(String::with_capacity(id.len() + 2 * odd));
    for c in id.chars() {
        if is_odd(c) {
            encoded.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            encoded.push(c);
        }
    }
    Spelled::Encoded(encoded)
}

/// Encodes a session's id as [`encode`] does. The id `idx` is an exception.
pub fn encode_session(session: &SessionId) -> Spelled<'_> {
    match session.as_str() {
        "idx" => Spelled::AsItIs(SESSION_IDX),
        other => encode(other),
    }
}

/// Returns the text that `encoded` stands for. Accepts spellings that [`encode`] doesn't produce. Returns
/// `None` if a `%` isn't followed by the two hexadecimal digits of an ASCII character.
pub fn decode(encoded: &str) -> Option<String> {
    let mut pieces = encoded.split('%');
    // What is decoded is no longer. It is wiped if it isn't given away.
    let mut decoded = Zeroizing::new(String::with_capacity(encoded.len()));
    decoded.push_str(pieces.next()?);
    for piece in pieces {
        let (hex, rest) = piece.split_at_checked(2)?;
        decoded.push(char::from(
            u8::from_str_radix(hex, 16).ok().filter(u8::is_ascii)?,
        ));
        decoded.push_str(rest);
    }
    Some(std::mem::take(&mut *decoded))
}

/// Whether `text` needs no encoding: it is an id and its own spelling at the same time.
pub fn is_plain(text: &str) -> bool {
    !text.contains(is_odd)
}

fn is_odd(c: char) -> bool {
    matches!(c, '%' | ':' | '{' | '}' | '\0'..=' ' | '\x7f')
}

/// Ids for property tests.
#[cfg(test)]
pub mod ids {
    use proptest::prelude::*;

    /// Ids made of the parts of keys, because these are the most likely to give equal keys, and arbitrary
    /// ids.
    pub fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::collection::vec(
                prop_oneof![
                    Just(":"),
                    Just("%"),
                    Just("{"),
                    Just("}"),
                    Just(" "),
                    Just("idx"),
                    Just("3A"),
                    Just("25"),
                    Just("69dx"),
                    Just("%3A"),
                    Just("a"),
                    Just("é"),
                    Just("upstream"),
                    Just("user"),
                    Just("providers"),
                ],
                1..5,
            )
            .prop_map(|parts| parts.concat()),
            "[^\\p{Cc}]{1,40}",
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{
        super::{Key, Keyspace},
        ids::id,
    };
    use crate::types::{ProviderName, RowKey, SessionId, UserId};

    proptest! {
        /// I6: all keys that a pair of ids gives, none of which may be a key of another pair.
        #[test]
        fn different_pairs_never_meet(pairs in proptest::collection::vec((id(), id()), 2..40)) {
            let keys = Keyspace::new(&"ns:name".parse().unwrap());
            let mut seen: HashMap<Key, String> = HashMap::new();
            for (session, other) in pairs {
                let row = RowKey {
                    session: SessionId::new(session.as_str()).unwrap(),
                    provider: ProviderName::new(other.as_str()).unwrap(),
                };
                let user = UserId::new(other.as_str()).unwrap();
                for (name, of) in [
                    (keys.row(&row), format!("row {session:?} {other:?}")),
                    (keys.session_index(&row.session), format!("session {session:?}")),
                    (keys.user_index(&user), format!("rows of {other:?}")),
                    (keys.user(&user), format!("user {other:?}")),
                    (keys.user_identities(&user), format!("identities of {other:?}")),
                ] {
                    let first = seen.entry(name).or_insert_with(|| of.clone());
                    prop_assert_eq!(&*first, &of);
                }
                let index = keys.user_index(&user);
                let spelled = keys.parse_user_index(&index).unwrap_or_default();
                prop_assert_eq!(Keyspace::parse_user(spelled), Some(user));
                let index = keys.session_index(&row.session);
                prop_assert_eq!(keys.parse_session_index(&index), Some(row.session.clone()));
                prop_assert_eq!(keys.parse_row(&keys.row(&row)), Some(row));
            }
        }
    }
}
