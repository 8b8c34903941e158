//! Tests what becomes of a row whose bytes were changed in any way: it opens as it was, or not at all.

use std::{env, sync::LazyLock};

use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use testkit::{rows::key, sealing};
use token_broker::{
    store::{Sealing, redis::row},
    types::{Row, RowKey, StoredRow, Version},
};

use crate::full;

/// A row, and its bytes as a store keeps them.
struct Sealed {
    key: RowKey,
    sealing: Sealing,
    stored: StoredRow,
    bytes: Vec<u8>,
}

static SEALED: LazyLock<Sealed> = LazyLock::new(|| {
    let key = key("s", "p");
    let sealing = sealing::sealing(&"test:seal".parse().unwrap(), &["k", "l"]);
    let stored = StoredRow {
        row: full("u", "token"),
        version: Version::random(),
    };
    let bytes = bytes(&sealing, &key, &stored);
    Sealed {
        key,
        sealing,
        stored,
        bytes,
    }
});

fn bytes(sealing: &Sealing, key: &RowKey, stored: &StoredRow) -> Vec<u8> {
    let sealed = sealing.seal(key, &stored.row, stored.version).unwrap();
    let sealed: Row = sealed.unwrap();
    let json = row::encode(&sealed, &key.provider, stored.version).unwrap();
    json.to_vec()
}

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
}

/// Returns changes that a row, or a pending authorization, may meet with.
pub fn mutations() -> impl Strategy<Value = Mutation> {
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
    prop_oneof![
        (at(), byte).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (at(), 1_usize..40).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (
            at(),
            prop_oneof![prop::collection::vec(any::<u8>(), 1..9), select(words)]
        )
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at(), at(), 1_usize..40).prop_map(|(from, to, length)| Mutation::Repeat(from, to, length)),
        (at(), at()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        at().prop_map(Mutation::CutOff),
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
        }
    }
}

/// Returns the row that a reader finds in these bytes, if it opens.
fn opened(bytes: &[u8]) -> Option<StoredRow> {
    let Sealed { key, sealing, .. } = &*SEALED;
    let decoded = row::decode(bytes, &key.provider)?;
    sealing.open(key, decoded.ok()?).ok()
}

#[test]
fn a_row_that_was_mutated_opens_as_it_was_or_not_at_all() {
    let cases = env::var("SEAL_MUTATIONS").map_or(5_000, |count| count.parse().unwrap());
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let sealed = &*SEALED;
    let mut same = 0_u32;
    let mutations = prop::collection::vec(mutations(), 1..4);
    let ran = runner.run(&mutations, |mutations| {
        let mut bytes = sealed.bytes.clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        // A row that lost its envelope is a plain one: `require-sealed` is there for that, and the next test.
        let decoded = row::decode(&bytes, &sealed.key.provider);
        let is_plain =
            decoded.is_some_and(|row| row.is_ok_and(|stored| stored.row.sealed.is_none()));
        if let Some(stored) = opened(&bytes).filter(|_| !is_plain) {
            prop_assert!(stored == sealed.stored);
        }
        Ok(())
    });
    ran.unwrap();
    // Some changes change nothing, such as white space at the end. Otherwise nothing would show that rows open at all.
    for harmless in [b" ".as_slice(), b"\n", b"\t "] {
        let mut bytes = sealed.bytes.clone();
        bytes.extend_from_slice(harmless);
        same += u32::from(opened(&bytes).as_ref() == Some(&sealed.stored));
    }
    assert_eq!(same, 3);
}

/// Where rows have to be sealed, there is no plain row to be planted: it opens as it was, or not at all.
#[test]
fn a_row_that_was_mutated_is_never_taken_for_a_plain_one_where_all_have_to_be_sealed() {
    let cases = env::var("SEAL_MUTATIONS").map_or(5_000, |count| count.parse().unwrap());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let sealed = &*SEALED;
    let sealing = Sealing {
        require_sealed: true,
        ..sealed.sealing.clone()
    };
    let mutations = prop::collection::vec(mutations(), 1..4);
    let ran = TestRunner::new(config).run(&mutations, |mutations| {
        let mut bytes = sealed.bytes.clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        if let Some(Ok(stored)) = row::decode(&bytes, &sealed.key.provider)
            && let Ok(stored) = sealing.open(&sealed.key, stored)
        {
            prop_assert!(stored == sealed.stored);
        }
        Ok(())
    });
    ran.unwrap();
}

/// Every row comes back from its bytes as it was sealed.
#[test]
fn any_row_opens_as_it_was_sealed() {
    // What a caller may store.
    let text = || prop_oneof![4 => "[a-zA-Z0-9 .:/_-]{1,40}", 1 => "\\PC{1,8}"];
    let scope = || prop_oneof![4 => "[a-zA-Z0-9.:/_-]{1,40}", 1 => "[^\\pC\\pZ]{1,8}"];
    let rows = (
        text(),
        text(),
        text(),
        prop::collection::vec(scope(), 0..4),
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Config {
        cases: 500,
        failure_persistence: None,
        ..Config::default()
    });
    let ran = runner.run(&rows, |(token, user, kind, scopes, is_bare)| {
        let mut row = match is_bare {
            true => testkit::rows::bare(&token),
            false => full("u", &token),
        };
        row.user_id = token_broker::types::UserId::new(user).ok();
        row.token_type = kind;
        row.scopes = scopes;
        let stored = StoredRow {
            row,
            version: Version::random(),
        };
        let bytes = bytes(&SEALED.sealing, &SEALED.key, &stored);
        prop_assert_eq!(opened(&bytes), Some(stored));
        Ok(())
    });
    ran.unwrap();
}
