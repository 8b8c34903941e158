//! Checks rows and indexes in Redis while no row has expired. This is stricter than the checks of
//! every test ([`audit`]), because no member waits to be pruned here.

use std::collections::BTreeSet;

use testkit::{
    audit,
    snapshot::{Content, Life, Snapshot, Value},
};

use crate::{
    rows::RowName,
    run::{PREFIX, Versions},
};

/// The kind of a key, by its name.
enum Kind {
    Row,
    SessionIndex,
    UserIndex(String),
    /// A key for the broker's internal use.
    Record,
    Unknown,
}

/// Returns what is wrong, one line per violation.
pub(crate) fn violations(snapshot: &Snapshot) -> Vec<String> {
    let mut wrong = audit::violations(snapshot, PREFIX);
    for key in snapshot.names() {
        match kind(&key) {
            Kind::Row | Kind::Record => {}
            Kind::SessionIndex => check_index(snapshot, &key, None, &mut wrong),
            Kind::UserIndex(user) => check_index(snapshot, &key, Some(user), &mut wrong),
            Kind::Unknown => wrong.push(format!("{key}: no caller should have written that")),
        }
    }
    wrong
}

/// Checks that an index has no member whose row is gone or another user's, and that it has no
/// expiry only if one of its rows has none.
fn check_index(snapshot: &Snapshot, key: &str, user: Option<String>, wrong: &mut Vec<String>) {
    let mut endless = false;
    for member in snapshot.members(key) {
        let Some(row) = snapshot.text(&member) else {
            wrong.push(format!("{key}: {member} is gone"));
            continue;
        };
        let owner = &json(row)["user_id"];
        if user.as_ref().is_some_and(|user| owner != user) {
            wrong.push(format!("{key}: {member} is of user {owner}"));
        }
        endless |= matches!(snapshot.life(&member), Some(Life::Endless));
    }
    if matches!(snapshot.life(key), Some(Life::Endless)) && !endless {
        wrong.push(format!("{key}: lives for ever, none of its rows does"));
    }
}

/// Returns the versions in the JSON of the rows.
pub(crate) fn versions(snapshot: &Snapshot) -> Versions {
    let version = |row| {
        let text = snapshot.text(&row_key(row))?;
        Some((row, json(text)["version"].as_u64()?))
    };
    RowName::all().filter_map(version).collect()
}

/// Returns damaged copies of the snapshot, each with a description of its damage.
pub(crate) fn damaged(snapshot: &Snapshot) -> Vec<(String, Snapshot)> {
    let mut damaged = Vec::new();
    let mut damage = |what: String, key: &str, how: &dyn Fn(&mut Value)| {
        let mut copy = snapshot.clone();
        how(copy.0.get_mut(key.as_bytes()).unwrap());
        damaged.push((what, copy));
    };
    let is_there = |row: &RowName| snapshot.get(&row_key(*row)).is_some();
    let gone = RowName::all().find(|row| !is_there(row)).map(row_key);
    for index in snapshot.names() {
        if !matches!(kind(&index), Kind::SessionIndex | Kind::UserIndex(_)) {
            continue;
        }
        for row in snapshot.members(&index) {
            damage(format!("{index} without {row}"), &index, &|value| {
                members(value).remove(row.as_bytes());
            });
        }
        if let Some(gone) = &gone {
            damage(format!("{index} with {gone}"), &index, &|value| {
                members(value).insert(gone.clone().into_bytes());
            });
        }
        damage(format!("{index} ends at once"), &index, &|value| {
            value.life = Life::Until(1);
        });
    }
    damaged
}

fn members(index: &mut Value) -> &mut BTreeSet<Vec<u8>> {
    match &mut index.content {
        Content::Set(members) => members,
        other => panic!("an index is a set, not {other:?}"),
    }
}

fn kind(key: &str) -> Kind {
    let Some(name) = key.strip_prefix(PREFIX) else {
        return Kind::Unknown;
    };
    if RowName::all().any(|row| row_key(row) == key) {
        Kind::Row
    } else if name.starts_with("upstream:idx:") {
        Kind::SessionIndex
    } else if let Some(user) = name.strip_prefix("user:upstream:") {
        Kind::UserIndex(user.to_owned())
    } else if name.starts_with("broker:") {
        Kind::Record
    } else {
        Kind::Unknown
    }
}

fn row_key(row: RowName) -> String {
    format!("{PREFIX}upstream:{}:{}", row.session_id(), row.provider)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}
