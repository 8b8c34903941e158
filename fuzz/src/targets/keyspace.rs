//! A key that is parsed is spelled so again. Two keys of one row would be two rows.

use std::sync::LazyLock;

use token_broker::store::redis::keyspace::Keyspace;

use crate::input::{planted, tenant};

static KEYS: LazyLock<Keyspace> = LazyLock::new(|| Keyspace::new(&tenant()));

pub fn run(bytes: &[u8]) -> Option<()> {
    let _ = Keyspace::tenant_with_data(bytes);
    let key = str::from_utf8(bytes).ok()?;
    if let Some(row) = KEYS.parse_row(&flawed(key)) {
        assert_eq!(*KEYS.row(&row), *key);
        let provider = KEYS.provider_in(&KEYS.session_rows(&row.session), key);
        assert_eq!(provider.as_ref(), Some(&row.provider));
    }
    if let Some(row) = KEYS.parse_record(key) {
        assert_eq!(*KEYS.record(&row), *key);
    }
    if let Some(session) = KEYS.parse_session_index(key) {
        assert_eq!(*KEYS.session_index(&session), *key);
    }
    let _ = KEYS.parse_user_index(key);
    let _ = KEYS.parse_user_identities(key);
    let _ = KEYS.parse_legacy_row(key);
    let _ = Keyspace::parse_user(key);
    Some(())
}

fn flawed(key: &str) -> String {
    // A parser that takes digits in small letters, too.
    if planted() {
        key.replace("%3a", "%3A")
    } else {
        key.to_owned()
    }
}
