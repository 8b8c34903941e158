//! Reading many keys at once.

use super::{Link, reply};
use crate::store::Error;

impl Link {
    /// Reads the strings that the keys hold, as of one instant. A key that doesn't hold a string gives
    /// `None`.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn strings(
        &self,
        keys: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut mget = redis::cmd("MGET");
        let mut any = false;
        for key in keys {
            mget.arg(key);
            any = true;
        }
        if !any {
            return Ok(Vec::new());
        }
        let values = reply::list(self.read(&mget).await?)?;
        values.into_iter().map(reply::bytes).collect()
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
