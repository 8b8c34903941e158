//! A tenant's records in Redis.

use std::future::Future;

use redis::Value;

use super::{
    RedisStore,
    keyspace::Key,
    link::{Effect, reply},
    record,
    row::{self, Label, rewrite},
    rows::{millis, sealed_in_grace},
    scripts::sha1_hex,
    user_rows,
};
use crate::{
    error::Unreadable,
    store::{Change, Error, Held, Records, RowChange, Seen, Stamp},
    types::{AttemptId, Record, RowKey, SecretBytes, StoreTime, StoredRow},
};

impl Records for RedisStore {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        let (row, record) = (self.keys.row(key), self.keys.record(key));
        let script = &self.redis.scripts().look_at_record;
        let keys = [row.as_str(), &record, &self.keys.grace()];
        let args = [self.keys.prefix().as_bytes()];
        let answer = self.link.call(script, &keys, &args, Effect::Reads).await?;
        let [holds, bytes, seconds, micros, grace, lineage, fields] = reply::list(answer)?
            .try_into()
            .map_err(|_| reply::unexpected())?;
        let bytes = SecretBytes::new(reply::bytes(bytes)?.unwrap_or_default());
        let row = match reply::parse::<String>(holds)?.as_str() {
            "nothing" => Held::Nothing,
            "bytes" => Held::Bytes(bytes),
            "other" => Held::Other,
            _ => return Err(reply::unexpected()),
        };
        let (seconds, micros): (u64, u64) = (reply::parse(seconds)?, reply::parse(micros)?);
        let (record, number) = read(&fields)?;
        let lineage: Vec<u8> = reply::parse(lineage)?;
        Ok(Seen {
            row: match &row {
                Held::Nothing => None,
                Held::Bytes(bytes) => row::decode(bytes, &key.provider),
                Held::Other | Held::Version(_) => Some(Err(Unreadable::damaged(
                    "the key holds another type of value",
                ))),
            },
            in_grace: reply::parse::<u8>(grace)? == 1,
            at: StoreTime::from_millis(seconds * 1_000 + micros / 1_000),
            lineage: user_rows::lineage(&lineage).ok(),
            stamp: Stamp {
                row,
                record: number,
                tokens: record.entries().iter().map(|entry| entry.token).collect(),
            },
            record,
        })
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        let held = match &seen.stamp.row {
            Held::Nothing => String::new(),
            Held::Bytes(bytes) => sha1_hex(bytes),
            Held::Other | Held::Version(_) => "other".to_owned(),
        };
        let row = change.row.map(|row| New::of(key, seen, row)).transpose()?;
        let mut keys = vec![self.keys.row(key), self.keys.record(key)];
        let keep_for = change.row.and_then(|row| row.keep_for);
        if let Some(row) = &row
            && keep_for.is_some()
        {
            keys.extend([self.keys.session_index(&key.session), self.keys.grace()]);
            keys.extend(
                row.label
                    .user
                    .as_ref()
                    .map(|user| self.keys.user_index(user)),
            );
        }
        let entries = record::encode(change.record)
            .map_err(|_| Error::unavailable("the record can't be written as JSON"))?;
        let gone = seen.stamp.tokens.iter();
        let gone = gone.filter(|token| change.record.entry(**token).is_none());
        let gone: Vec<_> = gone.map(|token| record::field(*token)).collect();

        let number = match seen.stamp.record {
            0 => String::new(),
            number => number.to_string(),
        };
        let (next, count) = (Stamp::drawn().to_string(), gone.len().to_string());
        let keep_for = keep_for.map(|span| millis(span).to_string());
        let ends = change
            .ends
            .map(|attempt| (self.keys.ends(), record::spell(attempt)));
        let (channel, attempt) = ends.unwrap_or_default();
        let grace = self.keys.grace();
        let is_sealed = change
            .row
            .is_some_and(|change| change.stored.row.sealed.is_some());
        let mut args = vec![
            self.keys.prefix().as_bytes(),
            held.as_bytes(),
            number.as_bytes(),
            next.as_bytes(),
            row.as_ref().map_or(&[], |row| &*row.json),
            keep_for.as_deref().unwrap_or_default().as_bytes(),
            channel.as_bytes(),
            attempt.as_bytes(),
            if is_sealed { grace.as_bytes() } else { b"" },
            count.as_bytes(),
        ];
        args.extend(gone.iter().map(String::as_bytes));
        for (field, value) in &entries {
            args.extend([field.as_bytes(), value.as_slice()]);
        }
        let script = &self.redis.scripts().change_record;
        let keys: Vec<_> = keys.iter().map(Key::as_str).collect();
        let answer = self.link.call(script, &keys, &args, Effect::Writes).await?;
        match reply::of_write::<String>(answer)?.as_str() {
            "written" => Ok(true),
            "changed" => Ok(false),
            "grace" => Err(sealed_in_grace()),
            _ => Err(reply::odd_outcome()),
        }
    }

    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        let ended = self.redis.announcements().of(attempt);
        self.redis
            .announcements()
            .follow(&self.link, self.keys.ends());
        ended
    }
}

/// A row that replaces another one.
struct New {
    json: SecretBytes,
    /// The row that it replaces.
    label: Label,
}

impl New {
    fn of(key: &RowKey, seen: &Seen, change: RowChange<'_>) -> Result<Self, Error> {
        let (Held::Bytes(bytes), Some(Ok(_))) = (&seen.stamp.row, &seen.row) else {
            return Err(Error::unavailable("there is no row to change"));
        };
        let label = Label::of(bytes, Some(&key.provider));
        let replaced = if change.stored.row.user_id == label.user {
            rewrite::replace(bytes, change.stored, &key.provider)
        } else {
            let mut stored: StoredRow = change.stored.clone();
            stored.row.user_id.clone_from(&label.user);
            rewrite::replace(bytes, &stored, &key.provider)
        };
        let json = replaced.map_err(|error| Error::unavailable(format!("a row {error}")))?;
        Ok(Self { json, label })
    }
}

/// Reads the fields of a record, and the number of its last change.
fn read(fields: &Value) -> Result<(Record, u64), Error> {
    // Nobody redeems then. The operator finds the record by the session, which a log doesn't name.
    let unreadable = || {
        tracing::warn!("{}: its row isn't refreshed", Error::RecordUnreadable);
        Error::RecordUnreadable
    };
    decode(fields).map_err(|record::Unreadable| unreadable())
}

/// Reads the fields of a record, as `scripts/look_at_record.lua` returns them, and the number of its last change.
pub(super) fn decode(fields: &Value) -> Result<(Record, u64), record::Unreadable> {
    let Value::Array(fields) = fields else {
        return Err(record::Unreadable);
    };
    let mut pairs = Vec::with_capacity(fields.len() / 2);
    for pair in fields.chunks(2) {
        let [Value::BulkString(name), Value::BulkString(value)] = pair else {
            return Err(record::Unreadable);
        };
        pairs.push((name.as_slice(), value.as_slice()));
    }
    record::decode(&pairs)
}
