//! A snapshot of everything that Redis holds of a tenant at one instant.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Index,
    time::{SystemTime, UNIX_EPOCH},
};

/// Takes every key that begins with the prefix. Keys are named without the prefix, as tests name
/// them.
const TAKE: &str = r"
local found = {}
local function ends(key)
  -- Only Redis 7 returns the expiry time itself.
  local at = redis.pcall('PEXPIRETIME', key)
  if type(at) == 'number' then return at end
  -- There the clock goes on while a script runs: what is left counts from a time between two that
  -- are the same millisecond.
  local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local before, left, after
  repeat before, left, after = now(), redis.call('PTTL', key), now() until before == after
  return left < 0 and left or before + left
end
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind = redis.call('TYPE', key).ok
  local value = {}
  if kind == 'string' then value = { redis.call('GET', key) }
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  else value = { redis.call('DUMP', key) } end
  found[#found + 1] = { key, kind, ends(key), value }
end
return found";

/// The keys of a tenant and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<Vec<u8>, Value>);

/// The value of a key, and its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The content.
    pub content: Content,
    /// The expiry.
    pub life: Life,
}

/// The content of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A string.
    Text(Vec<u8>),
    /// The members of a set.
    Set(BTreeSet<Vec<u8>>),
    /// A value of another type, as `DUMP` returns it.
    Other(Vec<u8>),
}

/// How long a key lives.
#[derive(Clone, Copy, Debug)]
pub enum Life {
    /// The key has no expiry.
    Endless,
    /// The key expires at this time, in milliseconds since the epoch.
    Until(u64),
}

/// The precision of an expiry, in milliseconds. Redis 6.2 only returns the remaining time.
const EXACTNESS: u64 = 2;

impl Life {
    /// Returns whether this expiry isn't earlier than `other`.
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Endless, _) => true,
            (Self::Until(_), Self::Endless) => false,
            (Self::Until(mine), Self::Until(theirs)) => mine + EXACTNESS >= theirs,
        }
    }

    /// Returns the remaining milliseconds, or `None` if there is no expiry.
    pub fn left(self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        match self {
            Self::Endless => None,
            Self::Until(end) => Some(end.saturating_sub(now)),
        }
    }
}

impl PartialEq for Life {
    fn eq(&self, other: &Self) -> bool {
        self.covers(*other) && other.covers(*self)
    }
}

impl Eq for Life {}

impl Index<&str> for Snapshot {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        let value = self.get(key);
        value.unwrap_or_else(|| panic!("there is no {key}"))
    }
}

impl Snapshot {
    /// Takes a snapshot of all keys that begin with `prefix`, which must have no characters of a
    /// glob.
    pub fn take(redis: &mut redis::Connection, prefix: &str) -> Self {
        type Found = Vec<(Vec<u8>, String, i64, Vec<Vec<u8>>)>;
        let mut eval = redis::cmd("EVAL");
        let found: Found = eval.arg(TAKE).arg(0).arg(prefix).query(redis).unwrap();
        let value = |(key, kind, end, mut value): (Vec<u8>, String, i64, Vec<Vec<u8>>)| {
            let content = match kind.as_str() {
                "string" => Content::Text(value.remove(0)),
                "set" => Content::Set(value.into_iter().collect()),
                _ => Content::Other(value.remove(0)),
            };
            let life = u64::try_from(end).map_or(Life::Endless, Life::Until);
            (key, Value { content, life })
        };
        Self(found.into_iter().map(value).collect())
    }

    /// Returns the value of a key, if there is one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key.as_bytes())
    }

    /// Returns the text at a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.content {
            Content::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// Returns whether a set has a member.
    pub fn holds(&self, key: &str, member: &str) -> bool {
        match self.get(key).map(|value| &value.content) {
            Some(Content::Set(members)) => members.contains(member.as_bytes()),
            _ => false,
        }
    }

    /// Returns the members of a set, or none if there is no such key.
    pub fn members(&self, key: &str) -> BTreeSet<String> {
        match self.get(key).map(|value| &value.content) {
            Some(Content::Set(members)) => members
                .iter()
                .map(|member| String::from_utf8_lossy(member).into_owned())
                .collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Panics unless each key of `other` is here, with the same content and expiry.
    pub fn assert_still_holds(&self, other: &Self) {
        for (key, value) in &other.0 {
            assert_eq!(self.0.get(key), Some(value), "{}", key.escape_ascii());
        }
    }

    /// How long a key lives.
    pub fn life(&self, key: &str) -> Option<Life> {
        self.get(key).map(|value| value.life)
    }

    /// Returns the names of all keys.
    pub fn names(&self) -> Vec<String> {
        let name = |key: &Vec<u8>| String::from_utf8_lossy(key).into_owned();
        self.0.keys().map(name).collect()
    }
}
