//! Checks the invariants of a tenant's data in Redis (guarantees, section 3.2). It is written independently of the
//! code that it checks, and shares neither the names of the keys nor the JSON with it.

use std::{collections::BTreeSet, fmt::Write};

use crate::snapshot::{Content, Snapshot, Value};

/// How many members without a row an index may hold, beyond twice the number of its rows (I5).
const SLACK: usize = 8;

/// Returns what is wrong with the data, one line per violation. Returns nothing if the data is sound.
pub fn violations(snapshot: &Snapshot, prefix: &str) -> Vec<String> {
    let audit = Audit { snapshot, prefix };
    let mut wrong = Vec::new();
    for (key, value) in &snapshot.0 {
        // A key that isn't UTF-8 is never the broker's.
        let Ok(key) = std::str::from_utf8(key) else {
            continue;
        };
        if let Some(row) = key.strip_prefix(&format!("{prefix}broker:refresh:")) {
            audit.record(key, value, &format!("{prefix}upstream:{row}"), &mut wrong);
            continue;
        }
        match (audit.kind(key), &value.content) {
            (Some(KeyKind::Row { session }), Content::Text(text)) if text != b"null" => {
                audit.row(key, value, text, session, &mut wrong);
            }
            (Some(KeyKind::SessionIndex { session }), Content::Set(members)) => {
                audit.index(key, members, &mut wrong);
                let own = format!("{prefix}upstream:{session}:");
                for member in members {
                    if !member.starts_with(own.as_bytes()) && member.starts_with(prefix.as_bytes())
                    {
                        wrong.push(format!("I1: {key} holds a row of another session"));
                    }
                }
            }
            (Some(KeyKind::UserIndex), Content::Set(members)) => {
                audit.index(key, members, &mut wrong);
            }
            _ => {}
        }
    }
    wrong
}

struct Audit<'a> {
    snapshot: &'a Snapshot,
    prefix: &'a str,
}

enum KeyKind<'a> {
    Row { session: &'a str },
    SessionIndex { session: &'a str },
    UserIndex,
}

impl Audit<'_> {
    fn kind<'k>(&self, key: &'k str) -> Option<KeyKind<'k>> {
        let rest = key.strip_prefix(self.prefix)?;
        if rest.starts_with("user:upstream:") {
            return Some(KeyKind::UserIndex);
        }
        match rest.strip_prefix("upstream:")?.split_once(':')? {
            ("idx", session) => Some(KeyKind::SessionIndex { session }),
            (session, _) => Some(KeyKind::Row { session }),
        }
    }

    /// I1: the row is in its indexes, and none of them expires before the row.
    fn row(&self, key: &str, row: &Value, text: &[u8], session: &str, wrong: &mut Vec<String>) {
        let mut indexes = vec![format!("{}upstream:idx:{session}", self.prefix)];
        let json: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
        if let Some(user) = json["user_id"].as_str().filter(|user| !user.is_empty()) {
            indexes.push(format!("{}user:upstream:{}", self.prefix, encoded(user)));
        }
        for index in indexes {
            if !self.snapshot.holds(&index, key) {
                wrong.push(format!("I1: {key} is missing in {index}"));
            } else if self
                .snapshot
                .life(&index)
                .is_some_and(|life| !life.covers(row.life))
            {
                wrong.push(format!("I1: {index} ends before {key}"));
            }
        }
    }

    /// A record outlives its row, and doesn't stay for ever without it.
    fn record(&self, key: &str, record: &Value, row: &str, wrong: &mut Vec<String>) {
        match self.snapshot.life(row) {
            Some(life) if !record.life.covers(life) => {
                wrong.push(format!("{key} ends before its row"));
            }
            None if record.life.left().is_none() => {
                wrong.push(format!("{key} has neither a row nor an expiry"));
            }
            _ => {}
        }
    }

    /// I5: the size of an index is close to the number of its live rows.
    fn index(&self, key: &str, members: &BTreeSet<Vec<u8>>, wrong: &mut Vec<String>) {
        let own = |member: &&Vec<u8>| member.starts_with(self.prefix.as_bytes());
        let alive = |member: &&Vec<u8>| self.snapshot.0.contains_key(*member);
        let rows = members.iter().filter(own).filter(alive).count();
        let dead = members.iter().filter(own).count() - rows;
        if dead > rows + SLACK {
            wrong.push(format!(
                "I5: {key} has {dead} dead members beside {rows} rows"
            ));
        }
    }
}

/// Returns an id as it is encoded in a key (guarantees, section 3).
pub fn encoded(id: &str) -> String {
    let mut key = String::new();
    for c in id.chars() {
        if matches!(c, '%' | ':' | '{' | '}' | ' ') || c.is_ascii_control() {
            write!(key, "%{:02X}", c as u32).unwrap();
        } else {
            key.push(c);
        }
    }
    key
}
