//! A row that can be read can be rewritten, unless a field that counts is there twice. Then it says the same, with another
//! provider and version, and its unknown fields are there.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::value::RawValue;
use token_broker::{
    store::redis::row::{self, rewrite},
    types::{ProviderName, SecretBytes, StoredRow, Version},
};

use crate::input::{planted, provider};

static PROVIDER: LazyLock<ProviderName> = LazyLock::new(provider);

pub fn run(bytes: &[u8]) -> Option<()> {
    let decoded = row::decode(bytes, &PROVIDER)?;
    let fields = match rewrite::Fields::parse(bytes) {
        Ok(fields) => fields,
        Err(rewrite::NotAnObject::Twice) => return Some(()),
        Err(why) => {
            assert!(decoded.is_err(), "it can be read, and not rewritten: {why}");
            return Some(());
        }
    };
    fields.provider_id().ok();
    let version = Version::from_number(7).expect("a version");
    let written = fields
        .rewrite(PROVIDER.as_str(), Some(7), &[])
        .expect("JSON");
    let written = flawed(written);
    let again = row::decode(&written, &PROVIDER).expect("a row");
    match (decoded, again) {
        (Ok(before), Ok(after)) => {
            assert!(before.row == after.row, "it says something else");
            assert_eq!(after.version, version);
            kept(bytes, &written);
            replaced(bytes, &StoredRow { version, ..before });
        }
        (Ok(_), Err(why)) => panic!("it can't be read any more: {why}"),
        // It may have had another provider, or a version of the wrong type.
        (Err(_), _) => {}
    }
    Some(())
}

/// A row that replaces one keeps what isn't known, and says what it says.
fn replaced(bytes: &[u8], stored: &StoredRow) {
    let replaced = rewrite::replace(bytes, stored, &PROVIDER).expect("it was read");
    let back = row::decode(&replaced, &PROVIDER).expect("a row");
    assert!(
        back.expect("it is read") == *stored,
        "it says something else"
    );
    kept(bytes, &replaced);
}

/// Panics unless the fields that no broker knows are as before. Of two of one name the last one counts here.
fn kept(before: &[u8], after: &[u8]) {
    let unknown = |bytes| -> Option<Vec<(String, String)>> {
        let all: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes).ok()?;
        let unknown = all.into_iter().filter(|(name, _)| name.starts_with('x'));
        Some(
            unknown
                .map(|(name, value)| (name, value.get().to_owned()))
                .collect(),
        )
    };
    if let Some(before) = unknown(before) {
        assert!(
            unknown(after) == Some(before),
            "an unknown field was changed"
        );
    }
}

fn flawed(written: SecretBytes) -> SecretBytes {
    // A writer that loses what it takes for the end of a text.
    let at = written.windows(4).position(|four| four == b"\\\"}\"");
    let (true, Some(at)) = (planted(), at) else {
        return written;
    };
    let mut written = written.into_exposed();
    written.remove(at);
    SecretBytes::new(written)
}
