//! Parses what the nodes of a cluster report about each other, and computes the slot of a key.

use crate::redis_server::PROMPT;

/// The number of slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// What one node reports about another.
pub(crate) struct Node {
    /// The node's id.
    pub(crate) id: String,
    /// The id of the primary that the node follows, or `-`.
    pub(crate) primary: String,
    /// The number of slots that the node holds.
    pub(crate) slots: usize,
}

impl Node {
    /// Parses `<id> <address> <flags> <primary> <ping> <pong> <epoch> <link> <slots>...`
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        if words.len() < 8 || words[2].contains("handshake") || words[2].contains("fail") {
            return None;
        }
        let count = |range: &&str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some(last + 1 - first)
        };
        Some(Self {
            id: words[0].to_owned(),
            primary: words[3].to_owned(),
            slots: words[8..].iter().filter_map(count).sum(),
        })
    }
}

/// Returns the port of the node that holds a slot, according to another node.
pub(crate) fn owner_told_by(node: &redis::Client, slot: u16) -> Option<u16> {
    let mut connection = node.get_connection_with_timeout(PROMPT).ok()?;
    connection.set_read_timeout(Some(PROMPT)).ok()?;
    let told: Vec<Vec<redis::Value>> = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query(&mut connection)
        .ok()?;
    told.into_iter().find_map(|range| {
        let [first, last, primary]: [redis::Value; 3] = range
            .into_iter()
            .take(3)
            .collect::<Vec<_>>()
            .try_into()
            .ok()?;
        let (first, last): (u16, u16) = (
            redis::from_redis_value(first).ok()?,
            redis::from_redis_value(last).ok()?,
        );
        let redis::Value::Array(primary) = primary else {
            return None;
        };
        let port = redis::from_redis_value(primary.into_iter().nth(1)?).ok()?;
        (first..=last).contains(&slot).then_some(port)
    })
}

/// Returns the slot of a key. It is computed from the text in the key's first braces, or from the
/// whole key if it has none.
pub fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    let tag = tag.map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
}
