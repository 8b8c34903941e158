//! Telling the scripts what they can't read of a row themselves.
//!
//! A script reads the head of a row that a broker wrote. For any other row it asks, and writes nothing: it answers
//! with the bytes. They are read here as every reader reads them, and the script is called again and told. It acts
//! on that only while the row still has those bytes.

use std::{collections::BTreeMap, time::Duration};

use redis::Value;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::{
    RedisStore,
    keyspace::Keyspace,
    link::{Effect, reply},
    row::Label,
    scripts::{Script, sha1_hex},
};
use crate::{
    store::Error,
    types::{UserId, Version},
};

/// How often a script is called for one write. It asks again only if other software has written a row meanwhile.
const CALLS: usize = 16;
/// How long to wait before a row is read yet again, in milliseconds.
const PAUSE: std::ops::Range<u64> = 2..20;

/// What a script was told, by key.
#[derive(Debug, Default)]
struct Told(BTreeMap<Vec<u8>, [Vec<u8>; 3]>);

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
        let mut told = Told::default();
        for call in 0..CALLS {
            if call > 1 {
                sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
            }
            let args: Vec<_> = args.iter().copied().chain(told.args()).collect();
            let answer = self.link.call(script, keys, &args, Effect::Writes).await?;
            match questions(answer)? {
                Ok(questions) => told.answer(&self.keys, questions),
                Err(answer) => return Ok(answer),
            }
        }
        Err(Error::unavailable("other software keeps changing a row"))
    }
}

/// Returns the keys and bytes that a script asks about, or its answer if it asks nothing.
fn questions(answer: Value) -> Result<Result<Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>, Value>, Error> {
    let asks = matches!(&answer, Value::Array(items)
        if matches!(items.first(), Some(Value::BulkString(word)) if word == b"tell"));
    if !asks {
        return Ok(Err(answer));
    }
    let mut items = reply::list(answer)?.into_iter().skip(1);
    let mut questions = Vec::new();
    while let (Some(key), Some(bytes)) = (items.next(), items.next()) {
        let bytes = reply::bytes(bytes)?.unwrap_or_default();
        questions.push((
            reply::bytes(key)?.unwrap_or_default(),
            Zeroizing::new(bytes),
        ));
    }
    Ok(Ok(questions))
}

impl Told {
    /// Returns what scripts take: key, SHA-1 of the bytes, version, user, for each key.
    fn args(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.0.iter();
        all.flat_map(|(key, told)| std::iter::once(key).chain(told).map(Vec::as_slice))
    }

    fn answer(&mut self, keys: &Keyspace, questions: Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>) {
        for (key, bytes) in questions {
            let told = answer(keys, &key, &bytes);
            self.0.insert(key, told);
        }
    }
}

/// Returns what a script is told of the value of `key`.
fn answer(keys: &Keyspace, key: &[u8], bytes: &[u8]) -> [Vec<u8>; 3] {
    let name = std::str::from_utf8(key).unwrap_or_default();
    let row = keys.parse_row(name);
    let is_older = keys.parse_legacy_row(name).is_some() || name.starts_with(&keys.identities());
    if row.is_none() && !is_older {
        return [b"foreign".to_vec(), Vec::new(), Vec::new()];
    }
    let label = Label::of(bytes, row.as_ref().map(|row| &row.provider));
    let version = label.version.map(Version::number);
    [
        sha1_hex(bytes).into_bytes(),
        version
            .map(|number| number.to_string())
            .unwrap_or_default()
            .into_bytes(),
        label
            .user
            .as_ref()
            .map_or("", UserId::as_str)
            .as_bytes()
            .to_vec(),
    ]
}
