//! Reading many keys at once.

use redis::Value;

use super::{Effect, Link, Request, reply};
use crate::{store::Error, types::SecretBytes};

/// A set and strings, as of one instant.
pub struct Snapshot {
    /// The members of the set.
    pub members: Vec<Vec<u8>>,
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
        let mut mget = redis::cmd("MGET");
        let mut any = false;
        for key in keys {
            mget.arg(key);
            any = true;
        }
        if !any {
            return Ok(Vec::new());
        }
        reply::secrets(self.read(&mget).await?)
    }

    /// Reads the set at `set` and the strings at `strings`, as of one instant. Returns `None` if Redis doesn't answer
    /// that, for example because one of the keys holds another type of value or is moving to another node.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn snapshot(&self, set: &str, strings: &[String]) -> Result<Option<Snapshot>, Error> {
        let of = |name, keys: &[String]| redis::cmd(name).arg(keys).take();
        // MGET gives nothing for a key that holds no string. EXISTS tells how many such keys there are.
        let cmds = [
            of("SMEMBERS", &[set.to_owned()]),
            of("MGET", strings),
            of("EXISTS", strings),
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
            members: reply::parse(members)?,
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
