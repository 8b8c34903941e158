//! A row means the same however it is spelled, comes back when it is written, and its label says what the row says.

use std::sync::LazyLock;

use token_broker::{
    store::{Decoded, redis::row},
    types::ProviderName,
};

use crate::input::{planted, prints_nothing, provider};

static PROVIDER: LazyLock<ProviderName> = LazyLock::new(provider);

pub fn run(bytes: &[u8]) -> Option<()> {
    let decoded = decode(bytes)?;
    // A blank in front takes the row to the reader of any JSON. A row as brokers write it has one of its own.
    let spaced = [b" ", bytes].concat();
    let by_other = row::decode(&spaced, &PROVIDER).expect("no null");
    let stored = match (decoded, by_other) {
        (Ok(one), Ok(other)) => {
            assert!(one.row == other.row, "the two readers disagree");
            one
        }
        (Err(why), Err(_)) => {
            prints_nothing("an unreadable row", &why);
            // What can't be read has a label too.
            let _ = row::Label::of(bytes, Some(&PROVIDER));
            return Some(());
        }
        _ => panic!("one of the two readers can't read it"),
    };
    assert!(stored.row.faults().is_empty(), "no caller may store it");
    let label = row::Label::of(bytes, Some(&PROVIDER));
    assert_eq!(label.version, Some(stored.version));
    assert!(
        label.user == stored.row.user_id,
        "the label has another user"
    );
    let json = row::encode(&stored.row, &PROVIDER, stored.version).expect("JSON");
    let back = decode(&json).expect("a row").expect("it is read");
    assert!(back == stored, "it comes back changed");
    Some(())
}

fn decode(bytes: &[u8]) -> Option<Decoded> {
    let mut bytes = bytes.to_vec();
    // A reader that takes a byte after a backslash as it is.
    if planted() {
        let at = bytes.windows(2).position(|two| two == b"\\u");
        if let Some(at) = at {
            bytes.remove(at);
        }
    }
    row::decode(&bytes, &PROVIDER)
}
