//! Reading many keys at once.

use redis::{RedisError, ServerError, Value};

use super::{Effect, Link, Request, failure, reply};
use crate::{store::Error, types::SecretBytes};

/// A set and strings, as of one instant.
pub struct Snapshot {
    /// The members of the set.
    pub members: Vec<SecretBytes>,
    /// The string of each key that was asked for. `None` if there is no such key.
    pub strings: Vec<Option<SecretBytes>>,
}

impl Link {
    /// Reads the strings that the keys hold, as of one instant. A key that doesn't hold a string gives
    /// `None`.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn strings(
        &self,
        keys: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Option<SecretBytes>>, Error> {
        let keys: Vec<_> = keys.into_iter().collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        if self.shared.largest.was_exceeded_lately()
            && let Some(strings) = self.beginnings(&keys).await?
        {
            let strings = strings.into_iter().map(Option::flatten);
            return Ok(strings.collect());
        }
        let mget = redis::cmd("MGET").arg(keys).take();
        reply::secrets(self.read(&mget).await?)
    }

    /// Reads the string that a key holds. `None` if there is no such key.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], or [`Error::WrongType`] if the key holds another type of value.
    pub async fn string(&self, key: &str) -> Result<Option<SecretBytes>, Error> {
        if self.shared.largest.was_exceeded_lately()
            && let Some(strings) = self.beginnings(&[key]).await?
        {
            return strings.into_iter().next().flatten().ok_or(Error::WrongType);
        }
        let get = redis::cmd("GET").arg(key).take();
        Ok(reply::bytes(self.read(&get).await?)?.map(SecretBytes::new))
    }

    /// Reads the strings that the keys hold, as of one instant, without having Redis send more of one than a value may have.
    /// A key that holds another type of value gives `None`. Returns `None` if Redis doesn't answer that.
    async fn beginnings(
        &self,
        keys: &[&str],
    ) -> Result<Option<Vec<Option<Option<SecretBytes>>>>, Error> {
        let largest = self.shared.largest.bytes();
        // One byte more than a value may have tells that it is too large: the connection sees to the rest.
        let beginning = |key: &&str| redis::cmd("GETRANGE").arg(*key).arg(0).arg(largest).take();
        // GETRANGE answers the same for a key that isn't there and for an empty string.
        let existing = |key: &&str| redis::cmd("EXISTS").arg(*key).take();
        let cmds: Vec<_> = keys
            .iter()
            .map(beginning)
            .chain(keys.iter().map(existing))
            .collect();
        let answers = self
            .carry_out(Effect::Reads, Request::Transaction(&cmds))
            .await?;
        if answers.len() != cmds.len() {
            return Ok(None);
        }
        let mut answers = answers.into_iter();
        let beginnings: Vec<_> = answers.by_ref().take(keys.len()).collect();
        let mut strings = Vec::with_capacity(keys.len());
        for (beginning, exists) in beginnings.into_iter().zip(answers) {
            strings.push(match beginning {
                Value::ServerError(error) if is_other_type(&error) => None,
                Value::ServerError(_) => return Ok(None),
                string => {
                    let bytes = reply::bytes(string)?.map(SecretBytes::new);
                    let exists: bool = reply::parse(exists)?;
                    Some(bytes.filter(|_| exists))
                }
            });
        }
        Ok(Some(strings))
    }

    /// Reads the set at `set` and the strings at `strings`, as of one instant. Returns `None` if Redis doesn't answer
    /// that, for example because one of the keys holds another type of value or is moving to another node. It isn't asked either if a value
    /// that is too large came lately.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn snapshot(&self, set: &str, strings: &[&str]) -> Result<Option<Snapshot>, Error> {
        if self.shared.largest.was_exceeded_lately() {
            // A script reads no more of a string than a value may have.
            return Ok(None);
        }
        let of = |name| redis::cmd(name).arg(strings).take();
        // MGET gives nothing for a key that holds no string. EXISTS tells how many such keys there are.
        let cmds = [
            redis::cmd("SMEMBERS").arg(set).take(),
            of("MGET"),
            of("EXISTS"),
        ];
        let request = Request::Transaction(&cmds);
        let answers = self.carry_out(Effect::Reads, request).await?;
        let Ok([members, strings, existing]) = <[Value; 3]>::try_from(answers) else {
            return Ok(None);
        };
        let strings = reply::secrets(strings)?;
        if matches!(members, Value::ServerError(_)) {
            return Ok(None);
        }
        let existing: usize = reply::parse(existing)?;
        let snapshot = Snapshot {
            members: reply::names(members)?,
            strings,
        };
        let found = snapshot.strings.iter().flatten().count();
        Ok((found == existing).then_some(snapshot))
    }

    /// Returns the types of values that the keys hold: `string`, `set`, `none` and so on.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn kinds(&self, keys: impl IntoIterator<Item = &str>) -> Result<Vec<String>, Error> {
        let ask = |key| {
            let mut kind = redis::cmd("TYPE");
            kind.arg(key);
            kind
        };
        let cmds = keys.into_iter().map(ask).collect();
        let answers = self.read_each(cmds).await?;
        answers.into_iter().map(reply::parse).collect()
    }
}

/// Whether a key holds another type of value.
fn is_other_type(error: &ServerError) -> bool {
    matches!(failure(&RedisError::from(error.clone())), Error::WrongType)
}
