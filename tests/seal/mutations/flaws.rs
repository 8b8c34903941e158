//! Readers of sealed rows that have a flaw each. Mutations have to find it.

use testkit::sealing;
use token_broker::{
    error::{KeyMissing, Unreadable},
    store::Decoded,
    types::StoredRow,
};

use super::{judge::Open, kinds::Kind};

/// The flaws, each with its reader, and what is said of it.
pub const ALL: [(&str, Open, &str); 6] = [
    (
        "scopes aren't bound to the envelope",
        unbound_scopes,
        "it opens: Changed",
    ),
    (
        "the version isn't bound to the envelope",
        unbound_version,
        "it opens: Changed",
    ),
    (
        "an envelope counts for more than a token beside it",
        half_sealed,
        "HalfSealed",
    ),
    (
        "what doesn't open counts as a missing key",
        never_damaged,
        "it is sealed under the key k.",
    ),
    (
        "a missing key counts as damage",
        never_missing,
        "KeyMissing: its envelope doesn't open",
    ),
    ("a reason quotes the row", quoting, "it quotes"),
];

fn unbound_scopes(kind: &Kind, stored: StoredRow, only_sealed: bool) -> Decoded {
    let mut as_sealed = stored.clone();
    as_sealed.row.scopes.clone_from(&kind.said.row.scopes);
    match kind.open(as_sealed, only_sealed) {
        Ok(mut opened) => {
            opened.row.scopes = stored.row.scopes;
            Ok(opened)
        }
        Err(_) => kind.open(stored, only_sealed),
    }
}

fn unbound_version(kind: &Kind, stored: StoredRow, only_sealed: bool) -> Decoded {
    let mut as_sealed = stored.clone();
    as_sealed.version = kind.said.version;
    match kind.open(as_sealed, only_sealed) {
        Ok(mut opened) => {
            opened.version = stored.version;
            Ok(opened)
        }
        Err(_) => kind.open(stored, only_sealed),
    }
}

fn half_sealed(kind: &Kind, mut stored: StoredRow, only_sealed: bool) -> Decoded {
    if stored.row.sealed.is_some() {
        stored.row.access_token = None;
        stored.row.refresh_token = None;
        stored.row.id_token = None;
    }
    kind.open(stored, only_sealed)
}

fn never_damaged(kind: &Kind, stored: StoredRow, only_sealed: bool) -> Decoded {
    let mut shown = stored.clone();
    shown.row.sealed = None;
    let opened = kind.open(stored, only_sealed);
    opened.map_err(|why| match why {
        Unreadable::Damaged(_) => {
            let key = sealing::key("k").id().clone();
            Unreadable::KeyMissing(Box::new(KeyMissing { key, shown }))
        }
        missing @ Unreadable::KeyMissing(_) => missing,
    })
}

fn never_missing(kind: &Kind, stored: StoredRow, only_sealed: bool) -> Decoded {
    let opened = kind.open(stored, only_sealed);
    opened.map_err(|why| match why {
        Unreadable::KeyMissing(_) => Unreadable::damaged("its envelope doesn't open"),
        damaged @ Unreadable::Damaged(_) => damaged,
    })
}

fn quoting(kind: &Kind, stored: StoredRow, only_sealed: bool) -> Decoded {
    let scopes = stored.row.scopes.join(" ");
    let opened = kind.open(stored, only_sealed);
    opened.map_err(|why| match why {
        Unreadable::Damaged(why) => Unreadable::damaged(format!("{why}: {scopes}")),
        missing @ Unreadable::KeyMissing(_) => missing,
    })
}
