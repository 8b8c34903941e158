//! The rows that are mutated, of each kind.

use std::sync::LazyLock;

use serde_json::Value;
use testkit::{
    rows::{bare, key, row, secret},
    sealing,
};
use token_broker::{
    store::{Decoded, Sealing, redis::row as json},
    types::{Row, RowKey, StoredRow, Version},
};

use crate::full;

/// A row, and its bytes as a store keeps them.
pub struct Kind {
    pub what: &'static str,
    pub key: RowKey,
    /// What the reader has: two keys.
    sealing: Sealing,
    /// The row as it was sealed.
    pub stored: StoredRow,
    pub bytes: Vec<u8>,
    /// The same, with its envelope: what the bytes say.
    pub said: StoredRow,
    /// Whether the reader has the key that sealed it.
    pub has_key: bool,
}

/// The keys of the reader. Each of them opens, and the first one seals.
pub const KEYS: [&str; 2] = ["k", "l"];

/// A row of each kind.
pub static ALL: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let refresh_alone = Row {
        access_token: None,
        ..row("u", "xyzzy")
    };
    let long = Row {
        id_token: secret(&"xyzzy".repeat(400)),
        scopes: (0..30).map(|number| format!("scope-{number}")).collect(),
        ..full("u", "xyzzy")
    };
    let odd = full("ü\"\\/ 'u", "xyzzy\"\\");
    let s = || key("s", "p");
    let mut all = vec![
        Kind::sealed("with every field", s(), full("u", "xyzzy"), "k"),
        Kind::sealed("an access token alone", s(), bare("xyzzy"), "k"),
        Kind::sealed("a refresh token alone", s(), refresh_alone, "k"),
        Kind::sealed("long", s(), long, "k"),
        Kind::sealed("ids of an odd form", key("s\"{:}ä", "p-1.x"), odd, "k"),
        Kind::sealed("an older key", s(), full("u", "xyzzy"), "l"),
        Kind::sealed(
            "a key that isn't here",
            s(),
            full("u", "xyzzy"),
            "elsewhere",
        ),
    ];
    let first = Kind::sealed("spelled by others", s(), full("u", "xyzzy"), "k");
    all.push(first.spelled_by_others());
    all
});

impl Kind {
    fn sealed(what: &'static str, key: RowKey, row: Row, with: &str) -> Self {
        let tenant = "test:seal".parse().unwrap();
        let stored = StoredRow {
            row,
            version: Version::random(),
        };
        let bytes = bytes(&sealing::sealing(&tenant, &[with]), &key, &stored);
        let said = json::decode(&bytes, &key.provider).unwrap().unwrap();
        Self {
            what,
            key,
            sealing: sealing::sealing(&tenant, &KEYS),
            stored,
            bytes,
            said,
            has_key: KEYS.contains(&with),
        }
    }

    /// The same row, in the spelling of software that knows more fields, and that keeps those of the broker.
    fn spelled_by_others(mut self) -> Self {
        let mut row: Value = serde_json::from_slice(&self.bytes).unwrap();
        row["theirs"] = serde_json::json!({"x": [1.0, "y"]});
        self.bytes = serde_json::to_vec_pretty(&row).unwrap();
        let said = json::decode(&self.bytes, &self.key.provider);
        assert!(said.unwrap().unwrap() == self.said);
        self
    }

    /// Opens a row as the reader does. `only_sealed` says that it takes no other ones.
    pub fn open(&self, stored: StoredRow, only_sealed: bool) -> Decoded {
        let sealing = Sealing {
            require_sealed: only_sealed,
            ..self.sealing.clone()
        };
        sealing.open(&self.key, stored)
    }
}

/// Returns the bytes of a row that is sealed.
pub fn bytes(sealing: &Sealing, key: &RowKey, stored: &StoredRow) -> Vec<u8> {
    let sealed = sealing.seal(key, &stored.row, stored.version).unwrap();
    let bytes = json::encode(&sealed.unwrap(), &key.provider, stored.version);
    bytes.unwrap().to_vec()
}
