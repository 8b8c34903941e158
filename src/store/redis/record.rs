//! A record as a hash of Redis: one field for each entry, and one for the number of the last change.
//!
//! An entry is JSON. It begins with its state, in one spelling, so that `scripts/put.lua` needs no parser to tell that the
//! token was redeemed. Fields of an entry that this version doesn't know are ignored, and so are fields of the hash. What
//! it can't read otherwise makes all of the record unreadable: then nobody redeems.

use serde::{Deserialize, Serialize};

use crate::types::{
    Attempt, AttemptId, AttemptState, Entry, EntryState, Lineage, Record, StoreTime, Successor,
    TokenHash, Version, Wanted,
};

/// The field that holds the number of the last change.
const CHANGE: &[u8] = b"change";

/// A record can't be read. Says nothing of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// An entry in JSON. Times are milliseconds since the epoch.
#[derive(Serialize, Deserialize)]
struct Written {
    state: State,
    /// The position among the entries of the record. A hash has no order.
    place: usize,
    attempts: Vec<WrittenAttempt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<Id>,
    lease_ends: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted_since: Option<u64>,
    /// The lineage of the data in which that was noted. Older versions don't know it, and drop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted_in: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_taken: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    successor: Option<WrittenSuccessor>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Free,
    Open,
    Redeemed,
    Refused,
    RefusedForGood,
    InDoubt,
}

#[derive(Serialize, Deserialize)]
struct WrittenAttempt {
    id: Id,
    state: WrittenAttemptState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenAttemptState {
    Running,
    NoAnswer,
    Ended,
}

#[derive(Serialize, Deserialize)]
struct WrittenSuccessor {
    token: Token,
    attempt: Id,
    version: u64,
}

/// An attempt's id as text.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(try_from = "String", into = "String")]
struct Id(AttemptId);

impl From<Id> for String {
    fn from(id: Id) -> Self {
        spell(id.0)
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_attempt(text.as_bytes()).map(Self).ok_or("no attempt")
    }
}

/// The hash of a token as text.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(try_from = "String", into = "String")]
struct Token(TokenHash);

impl From<Token> for String {
    fn from(token: Token) -> Self {
        field(token.0)
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_field(text.as_bytes()).map(Self).ok_or("no token")
    }
}

impl Written {
    fn of(place: usize, entry: &Entry) -> Self {
        let millis = |time: Option<StoreTime>| time.map(StoreTime::millis);
        let attempt = |attempt: &Attempt| WrittenAttempt {
            id: Id(attempt.id),
            state: match attempt.state {
                AttemptState::Running => WrittenAttemptState::Running,
                AttemptState::NoAnswer => WrittenAttemptState::NoAnswer,
                AttemptState::Ended => WrittenAttemptState::Ended,
            },
        };
        let (state, successor) = match entry.state {
            EntryState::Free => (State::Free, None),
            EntryState::Open => (State::Open, None),
            EntryState::Redeemed(successor) => (State::Redeemed, successor),
            EntryState::Refused { for_good: false } => (State::Refused, None),
            EntryState::Refused { for_good: true } => (State::RefusedForGood, None),
            EntryState::InDoubt => (State::InDoubt, None),
        };
        Self {
            state,
            place,
            attempts: entry.attempts.iter().map(attempt).collect(),
            holder: entry.holder.map(Id),
            lease_ends: entry.lease_ends.millis(),
            wanted_since: millis(entry.wanted.map(|wanted| wanted.since)),
            wanted_in: entry
                .wanted
                .and_then(|wanted| wanted.lineage)
                .map(Lineage::number),
            first_taken: millis(entry.first_taken),
            not_before: millis(entry.not_before),
            failures: entry.failures,
            refused_at: millis(entry.refused_at),
            rejected_at: millis(entry.rejected_at),
            successor: successor.map(|successor| WrittenSuccessor {
                token: Token(successor.token),
                attempt: Id(successor.attempt),
                version: successor.version.number(),
            }),
        }
    }

    fn read(self, token: TokenHash) -> Option<Entry> {
        let time = |millis: Option<u64>| millis.map(StoreTime::from_millis);
        let attempt = |attempt: WrittenAttempt| Attempt {
            id: attempt.id.0,
            state: match attempt.state {
                WrittenAttemptState::Running => AttemptState::Running,
                WrittenAttemptState::NoAnswer => AttemptState::NoAnswer,
                WrittenAttemptState::Ended => AttemptState::Ended,
            },
        };
        let successor = match self.successor {
            None => None,
            Some(successor) => Some(Successor {
                token: successor.token.0,
                attempt: successor.attempt.0,
                version: Version::from_number(successor.version)?,
            }),
        };
        Some(Entry {
            token,
            state: match self.state {
                State::Free => EntryState::Free,
                State::Open => EntryState::Open,
                State::Redeemed => EntryState::Redeemed(successor),
                State::Refused => EntryState::Refused { for_good: false },
                State::RefusedForGood => EntryState::Refused { for_good: true },
                State::InDoubt => EntryState::InDoubt,
            },
            attempts: self.attempts.into_iter().map(attempt).collect(),
            holder: self.holder.map(|id| id.0),
            lease_ends: StoreTime::from_millis(self.lease_ends),
            wanted: time(self.wanted_since).map(|since| Wanted {
                since,
                lineage: self.wanted_in.map(Lineage::new),
            }),
            first_taken: time(self.first_taken),
            not_before: time(self.not_before),
            failures: self.failures,
            refused_at: time(self.refused_at),
            rejected_at: time(self.rejected_at),
        })
    }
}

/// Returns the fields of the hash that hold the entries of `record`, each with its value.
///
/// # Errors
/// No record causes one. Returning a `Result` avoids a panic.
pub fn encode(record: &Record) -> Result<Vec<(String, Vec<u8>)>, serde_json::Error> {
    let entries = record.entries().iter().enumerate();
    let encode = |(place, entry): (usize, &Entry)| {
        let json = serde_json::to_vec(&Written::of(place, entry))?;
        Ok((field(entry.token), json))
    };
    entries.map(encode).collect()
}

/// Returns the record whose hash has these fields and values, and the number of its last change. It is 0 if there are
/// none.
///
/// # Errors
/// Returns [`Unreadable`].
pub fn decode(fields: &[(&[u8], &[u8])]) -> Result<(Record, u64), Unreadable> {
    let (mut change, mut entries) = (None, Vec::new());
    for (name, value) in fields {
        if *name == CHANGE {
            let text = str::from_utf8(value).unwrap_or_default();
            let number = text.parse().ok();
            // In one spelling alone: the scripts compare texts.
            change = number.filter(|number: &u64| *number > 0 && number.to_string() == text);
        } else if name.len() == 2 * size_of::<TokenHash>() {
            let token = parse_field(name).ok_or(Unreadable)?;
            let written: Written = serde_json::from_slice(value).map_err(|_| Unreadable)?;
            let place = written.place;
            entries.push((place, written.read(token).ok_or(Unreadable)?));
        }
    }
    if fields.is_empty() {
        return Ok((Record::default(), 0));
    }
    entries.sort_by_key(|(place, _)| *place);
    let entries = entries.into_iter().map(|(_, entry)| entry).collect();
    Ok((Record::new(entries), change.ok_or(Unreadable)?))
}

/// Returns the field of the hash that holds the entry of a refresh token.
#[must_use]
pub fn field(token: TokenHash) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    // Each `Store` spells one.
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    token.as_bytes().iter().flat_map(digits).collect()
}

fn parse_field(field: &[u8]) -> Option<TokenHash> {
    let mut bytes = [0; size_of::<TokenHash>()];
    let (pairs, rest) = field.as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(number(pair)?).ok()?;
    }
    Some(TokenHash::from_bytes(bytes))
}

/// Returns how an attempt is spelled.
#[must_use]
pub fn spell(attempt: AttemptId) -> String {
    format!("{:032x}", attempt.number())
}

/// Returns the attempt that is spelled so.
#[must_use]
pub fn parse_attempt(text: &[u8]) -> Option<AttemptId> {
    let number = (text.len() == 32).then(|| number(text))?;
    number.map(AttemptId::from_number)
}

/// Reads digits as [`field`] and [`spell`] write them.
fn number(digits: &[u8]) -> Option<u128> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = digits.iter().all(is_digit).then_some(digits)?;
    u128::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(n: u8) -> TokenHash {
        TokenHash::from_bytes([n; 32])
    }

    /// An entry with every field, in this state.
    fn entry(n: u8, state: EntryState) -> Entry {
        let attempt = |number, state| Attempt {
            id: AttemptId::from_number(number),
            state,
        };
        Entry {
            token: token(n),
            state,
            attempts: vec![
                attempt(1, AttemptState::Running),
                attempt(u128::MAX, AttemptState::NoAnswer),
                attempt(3, AttemptState::Ended),
            ],
            holder: Some(AttemptId::from_number(u128::MAX)),
            lease_ends: StoreTime::from_millis(4),
            wanted: Some(Wanted {
                since: StoreTime::from_millis(5),
                lineage: Some(Lineage::new(u64::MAX)),
            }),
            first_taken: Some(StoreTime::from_millis(6)),
            not_before: Some(StoreTime::from_millis(7)),
            failures: 8,
            refused_at: Some(StoreTime::from_millis(8)),
            rejected_at: Some(StoreTime::from_millis(9)),
        }
    }

    fn read(fields: &[(String, Vec<u8>)]) -> Result<(Record, u64), Unreadable> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_slice()))
            .collect();
        decode(&fields)
    }

    fn change(number: &str) -> (String, Vec<u8>) {
        ("change".to_owned(), number.as_bytes().to_vec())
    }

    #[test]
    fn a_record_comes_back_in_its_order() {
        let successor = Successor {
            token: token(0xfe),
            attempt: AttemptId::from_number(3),
            version: Version::random(),
        };
        let states = [
            EntryState::Free,
            EntryState::Open,
            EntryState::Redeemed(None),
            EntryState::Redeemed(Some(successor)),
            EntryState::Refused { for_good: false },
            EntryState::Refused { for_good: true },
            EntryState::InDoubt,
        ];
        let entries = states.into_iter().zip((0..=255).rev());
        let mut entries: Vec<_> = entries.map(|(state, n)| entry(n, state)).collect();
        entries.push(Entry::free(token(0x5a)));
        let record = Record::new(entries);
        let mut fields = encode(&record).unwrap();
        fields.push(change("77"));
        fields.sort();
        assert_eq!(read(&fields), Ok((record, 77)));
    }

    /// `put.lua` relies on it.
    #[test]
    fn an_entry_begins_with_its_state() {
        for (state, spelled) in [
            (EntryState::Redeemed(None), "redeemed"),
            (EntryState::Refused { for_good: true }, "refused_for_good"),
            (EntryState::Refused { for_good: false }, "refused"),
        ] {
            let fields = encode(&Record::new(vec![entry(1, state)])).unwrap();
            let head = format!(r#"{{"state":"{spelled}","place":0,"#);
            assert!(fields[0].1.starts_with(head.as_bytes()));
        }
    }

    /// `look_at_record.lua` relies on the place of the lease. Older versions write no lineage.
    #[test]
    fn a_note_is_spelled_as_versions_before_and_after_read_it() {
        let mut open = Entry::free(token(1));
        open.state = EntryState::Open;
        open.lease_ends = StoreTime::from_millis(4);
        let since = StoreTime::from_millis(5);
        for (lineage, spelled) in [
            (None, ""),
            (
                Some(Lineage::new(u64::MAX)),
                r#""wanted_in":18446744073709551615,"#,
            ),
        ] {
            open.wanted = Some(Wanted { since, lineage });
            let json = format!(
                r#"{{"state":"open","place":0,"attempts":[],"lease_ends":4,"wanted_since":5,{spelled}"failures":0}}"#
            );
            let record = Record::new(vec![open.clone()]);
            let mut fields = encode(&record).unwrap();
            assert_eq!(fields[0].1, json.into_bytes());
            fields.push(change("1"));
            assert_eq!(read(&fields), Ok((record, 1)));
        }
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        let known = r#"{"state":"free","place":0,"attempts":[],"lease_ends":0,"failures":0"#;
        let json = format!(r#"{known},"more":{{"x":[1]}}}}"#).into_bytes();
        let fields = [
            (field(token(1)), json),
            change("1"),
            ("later".to_owned(), b"x".to_vec()),
        ];
        let record = Record::new(vec![Entry::free(token(1))]);
        assert_eq!(read(&fields), Ok((record, 1)));
        assert_eq!(read(&[]), Ok((Record::default(), 0)));
    }

    #[test]
    fn what_cannot_be_read_makes_all_of_it_unreadable() {
        let good = &encode(&Record::new(vec![Entry::free(token(1))])).unwrap()[0];
        for bad in [
            vec![good.clone()],
            vec![good.clone(), change("0")],
            vec![good.clone(), change("x")],
            vec![good.clone(), change("05")],
            vec![good.clone(), change("+5")],
            vec![change("1"), (good.0.replace('0', "g"), good.1.clone())],
            vec![change("1"), (good.0.clone(), b"{".to_vec())],
            vec![change("1"), (good.0.clone(), b"[]".to_vec())],
            vec![
                change("1"),
                (good.0.clone(), br#"{"state":"unheard of"}"#.to_vec()),
            ],
        ] {
            assert_eq!(read(&bad), Err(Unreadable));
        }
    }
}
