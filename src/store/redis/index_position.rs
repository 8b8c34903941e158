//! A position in an index, as `index_page.lua` takes and returns it.

use redis::Value;

use super::link::reply;
use crate::store::{Error, Position};

/// The largest COUNT that a position may ask for.
const LARGEST_COUNT: u16 = 500;
/// Stands for a missing hash, which has 52 bits.
const NONE: u64 = u64::MAX;
/// The length of a position in bytes.
const LENGTH: usize = 34;

/// A position in an index. It holds no member, and no hash that could be computed without the server's run id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPosition {
    /// The first 64 bits of the server's run id.
    server: u64,
    cursor: u64,
    /// Where within a batch the position lies.
    within: Option<Within>,
}

/// A position within a batch of members.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Within {
    /// The COUNT with which the batch was read.
    count: u16,
    /// The cursor after the batch.
    stop: u64,
    /// The largest hash of the members that were given.
    after: u64,
}

impl IndexPosition {
    /// Returns the arguments of the script. `None` is the beginning.
    pub(super) fn args(position: Option<&Self>) -> [String; 5] {
        let Some(position) = position else {
            return <[String; 5]>::default();
        };
        let (server, cursor) = (
            format!("{:016x}", position.server),
            position.cursor.to_string(),
        );
        match &position.within {
            None => [server, cursor, String::new(), String::new(), String::new()],
            Some(Within { count, stop, after }) => [
                server,
                cursor,
                count.to_string(),
                stop.to_string(),
                after.to_string(),
            ],
        }
    }

    /// Takes the next position from the script's answer. Returns `None` at the end of the index.
    pub(super) fn read(items: &mut impl Iterator<Item = Value>) -> Result<Option<Self>, Error> {
        let mut parts = <[String; 5]>::default();
        for part in &mut parts {
            *part = reply::parse(items.next().unwrap_or(Value::Nil))?;
        }
        let [server, cursor, count, stop, after] = &parts;
        if cursor.is_empty() {
            return Ok(None);
        }
        let unknown = |_| Error::unavailable("index_page.lua gave no known answer");
        let number = |text: &str| text.parse::<u64>().map_err(unknown);
        let within = match after.as_str() {
            "" => None,
            after => Some(Within {
                count: count.parse().map_err(unknown)?,
                stop: number(stop)?,
                after: number(after)?,
            }),
        };
        Ok(Some(Self {
            server: u64::from_str_radix(server, 16).map_err(unknown)?,
            cursor: number(cursor)?,
            within,
        }))
    }

    /// Returns the position as callers of the store have it.
    #[must_use]
    pub fn encode(&self) -> Position {
        let (count, stop, after) = match &self.within {
            None => (0, 0, NONE),
            Some(Within { count, stop, after }) => (*count, *stop, *after),
        };
        let mut bytes = Vec::with_capacity(LENGTH);
        for number in [self.server, self.cursor, stop, after] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(count.to_be_bytes());
        Position::new(bytes)
    }

    /// Returns `None` for what isn't a position in an index. Whoever makes one up gets no more work done by Redis
    /// than anybody else.
    #[must_use]
    pub fn decode(position: &Position) -> Option<Self> {
        let bytes: &[u8; LENGTH] = position.as_bytes().try_into().ok()?;
        let (numbers, count) = bytes.as_chunks::<8>();
        let [server, cursor, stop, after] = numbers else {
            return None;
        };
        let count = u16::from_be_bytes(count.try_into().ok()?);
        let after = u64::from_be_bytes(*after);
        Some(Self {
            server: u64::from_be_bytes(*server),
            cursor: u64::from_be_bytes(*cursor),
            within: (after != NONE).then_some(Within {
                count: count.clamp(1, LARGEST_COUNT),
                stop: u64::from_be_bytes(*stop),
                after,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back() {
        let between = IndexPosition {
            server: 7,
            cursor: u64::MAX,
            within: None,
        };
        let within = IndexPosition {
            within: Some(Within {
                count: 3,
                stop: 0,
                after: 5,
            }),
            ..between.clone()
        };
        for position in [between, within] {
            let encoded = position.encode();
            assert_eq!(IndexPosition::decode(&encoded).as_ref(), Some(&position));
            let mut answer = IndexPosition::args(Some(&position))
                .map(|part| Value::BulkString(part.into_bytes()))
                .into_iter();
            assert_eq!(IndexPosition::read(&mut answer).unwrap(), Some(position));
        }
    }

    #[test]
    fn what_is_made_up_is_bounded() {
        for bytes in [vec![], vec![0; LENGTH - 1], vec![0; LENGTH + 1]] {
            assert_eq!(IndexPosition::decode(&Position::new(bytes)), None);
        }
        let mut bytes = vec![0; LENGTH - 2];
        bytes.extend(u16::MAX.to_be_bytes());
        let position = IndexPosition::decode(&Position::new(bytes)).unwrap();
        assert_eq!(
            position.within.map(|within| within.count),
            Some(LARGEST_COUNT)
        );
    }
}
