//! What is done to the bytes of a row, or of a pending authorization.

use proptest::{
    prelude::*,
    sample::{Index, select},
};
use serde_json::Value;

/// The fields that are given other values.
const FIELDS: [&str; 19] = [
    "version",
    "user_id",
    "provider_id",
    "access_token",
    "refresh_token",
    "id_token",
    "expires_at",
    "session_expires_at",
    "refresh_expires_at",
    "upstream_subject",
    "client_id",
    "updated_at",
    "token_type",
    "scopes",
    "reauth",
    "origin_server",
    "origin_client",
    "sealed",
    "theirs",
];

/// Their values, as JSON. Some are of the wrong type, for any field or most.
const VALUES: [&str; 12] = [
    "null",
    "\"\"",
    "\"planted\"",
    "\"two\\nlines\"",
    "\"in_doubt\"",
    "0",
    "4711",
    "4000000000",
    "5.0",
    "[]",
    "[\"planted\"]",
    "true",
];

/// A change of some bytes.
#[derive(Clone, Debug)]
pub enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index, usize),
    Swap(Index, Index),
    CutOff(Index),
    /// Gives a field of the row another value. Nothing happens if the bytes aren't a row any more.
    Edit(&'static str, &'static str),
    /// Gives the envelope another character. Nothing happens if there is none any more.
    Respell(Index, u8),
}

/// Returns one change to three.
pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(), 1..4)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let byte = prop_oneof![any::<u8>(), select(b"\"\\,:{}[]0-.19kl ".to_vec())];
    let words: Vec<Vec<u8>> = [
        "\"sealed\":null,",
        "\"sealed\":\"\",",
        "\"access_token\":\"x\",",
        "\"payload\":\"eHg=\",",
        ",\"x\":1",
        "null",
        "1.l.",
        ".0123456789abcdef.",
        "\\u0000",
    ]
    .map(|word| word.as_bytes().to_vec())
    .to_vec();
    let of_envelopes = select(b"AZaz09-_.=".to_vec());
    prop_oneof![
        1 => (at(), byte).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        1 => (at(), 1_usize..40).prop_map(|(at, length)| Mutation::Remove(at, length)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (at(), select(words)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (at(), at(), 1_usize..40).prop_map(|(from, to, length)| Mutation::Repeat(from, to, length)),
        1 => (at(), at()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        1 => at().prop_map(Mutation::CutOff),
        // These leave JSON, where most of the others don't.
        6 => (select(&FIELDS), select(&VALUES)).prop_map(|(field, value)| Mutation::Edit(field, value)),
        4 => (at(), of_envelopes).prop_map(|(at, byte)| Mutation::Respell(at, byte)),
    ]
}

impl Mutation {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Set(at, byte) => bytes[at.index(length)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Self::Remove(at, span) => {
                let from = at.index(length);
                bytes.drain(from..(from + span).min(length));
            }
            Self::Insert(at, inserted) => {
                let at = at.index(length);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Self::Repeat(from, to, span) => {
                let (from, to) = (from.index(length), to.index(length));
                let part = bytes[from..(from + span).min(length)].to_vec();
                bytes.splice(to..to, part);
            }
            Self::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
            Self::CutOff(at) => bytes.truncate(at.index(length)),
            Self::Edit(field, value) => {
                let Ok(Value::Object(mut row)) = serde_json::from_slice(bytes) else {
                    return;
                };
                row.insert((*field).to_owned(), serde_json::from_str(value).unwrap());
                *bytes = serde_json::to_vec(&row).unwrap();
            }
            Self::Respell(at, byte) => {
                const FIELD: &[u8] = b"\"sealed\":\"";
                let found = bytes.windows(FIELD.len()).position(|part| part == FIELD);
                let Some(begins) = found.map(|at| at + FIELD.len()) else {
                    return;
                };
                let length = bytes[begins..].iter().position(|byte| *byte == b'"');
                if let Some(length) = length.filter(|length| *length > 0) {
                    bytes[begins + at.index(length)] = *byte;
                }
            }
        }
    }
}
