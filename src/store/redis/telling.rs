//! Telling the scripts what they can't read of a row themselves.
//!
//! A script reads the head of a row that a broker wrote. For any other row it asks, and writes nothing: it answers
//! with the bytes. They are read here as every reader reads them, and the script is called again and told. It acts
//! on that only while the row still has those bytes.

use std::{collections::BTreeMap, time::Duration};

use redis::Value;
use tokio::time::sleep;

use super::{
    RedisStore,
    keyspace::Keyspace,
    link::Effect,
    row::Label,
    scripts::{Script, sha1_hex},
};
use crate::{store::Error, types::SecretBytes};

/// How often a script is called for one write. It asks again only if other software has written a row meanwhile.
const CALLS: usize = 16;
/// How long to wait before a row is read yet again, in milliseconds.
const PAUSE: std::ops::Range<u64> = 2..20;

/// A key and the bytes of its value, of which a script has to be told.
type Question<'a> = (&'a [u8], &'a [u8]);

/// What a script was told for one write or one look, by key.
#[derive(Default)]
pub(super) struct Told {
    told: BTreeMap<SecretBytes, [Vec<u8>; 4]>,
    /// How often the script asked.
    asked: usize,
}

impl RedisStore {
    /// Calls a script that writes, and tells it what it asks. The answers are appended to `args`.
    ///
    /// # Errors
    /// Returns the errors of a write, and [`Error::Unavailable`] if other software keeps changing a row.
    pub(super) async fn call_telling(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<Value, Error> {
        let (answer, _) = self.call_counting(script, keys, args).await?;
        Ok(answer)
    }

    /// The same as [`Self::call_telling`], but returns also how often the script asked.
    pub(super) async fn call_counting(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<(Value, usize), Error> {
        let mut told = Told::default();
        loop {
            if told.asked > 1 {
                sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
            }
            let args: Vec<_> = args.iter().copied().chain(told.args()).collect();
            let answer = self.link.call(script, keys, &args, Effect::Writes).await?;
            if let Some(answer) = told.tell(&self.keys, answer)? {
                return Ok((answer, told.asked));
            }
        }
    }
}

/// Returns what a script asks, or `None` if it asks nothing.
fn questions(answer: &Value) -> Result<Option<Vec<Question<'_>>>, Error> {
    let Value::Array(items) = answer else {
        return Ok(None);
    };
    let Some((Value::BulkString(word), items)) = items.split_first() else {
        return Ok(None);
    };
    if word != b"tell" {
        return Ok(None);
    }
    let pairs = items.chunks(2).map(|pair| match pair {
        [Value::BulkString(key), Value::BulkString(bytes)] => Ok((&**key, &**bytes)),
        _ => Err(Error::unavailable("a script asks nothing that is known")),
    });
    pairs.collect::<Result<_, _>>().map(Some)
}

/// Wipes the rows that a script asked about.
fn wipe(answer: Value) {
    let Value::Array(items) = answer else { return };
    for item in items {
        if let Value::BulkString(bytes) = item {
            drop(SecretBytes::new(bytes));
        }
    }
}

impl Told {
    /// Returns what scripts take for each key, as `lib/listen.lua` has it.
    pub(super) fn args(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.told.iter();
        all.flat_map(|(key, told)| std::iter::once(&**key).chain(told.iter().map(Vec::as_slice)))
    }

    /// Returns the script's answer. Returns `None` if the script asks: it has to be called again with [`Told::args`].
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the script has asked too often.
    pub(super) fn tell(&mut self, keys: &Keyspace, answer: Value) -> Result<Option<Value>, Error> {
        let Some(questions) = questions(&answer)? else {
            return Ok(Some(answer));
        };
        self.asked += 1;
        if self.asked == CALLS {
            return Err(Error::unavailable("other software keeps changing a row"));
        }
        for (key, bytes) in questions {
            self.told.insert(
                SecretBytes::new(key.to_vec()),
                self::answer(keys, key, bytes),
            );
        }
        wipe(answer);
        Ok(None)
    }
}

/// Returns what a script is told of the value of `key`.
fn answer(keys: &Keyspace, key: &[u8], bytes: &[u8]) -> [Vec<u8>; 4] {
    let name = std::str::from_utf8(key).unwrap_or_default();
    let row = keys.parse_row(name);
    let label = Label::of(bytes, row.as_ref().map(|row| &row.provider));
    let version = label.version.map(|version| version.number().to_string());
    [
        sha1_hex(bytes),
        version.unwrap_or_default(),
        label.user.map(String::from).unwrap_or_default(),
        row.map(|_| "1".to_owned()).unwrap_or_default(),
    ]
    .map(String::into_bytes)
}
