//! How large things may get (guarantees, section 2.5).

use crate::{error::Error, types::Row};

/// Limits on what is stored. What other software stored is read whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one token.
    pub token_bytes: usize,
    /// Bytes of one row: [`Row::size`].
    pub row_bytes: usize,
    /// Rows of one session.
    pub providers: usize,
}

impl Default for Limits {
    /// A full session stays below the 4 MiB that gRPC clients accept by default.
    fn default() -> Self {
        Self {
            token_bytes: 32 * 1024,
            row_bytes: 60 * 1024,
            providers: 64,
        }
    }
}

impl Limits {
    /// Checks a row.
    ///
    /// # Errors
    /// [`Error::TooLarge`], naming the field.
    pub fn check(&self, row: &Row) -> Result<(), Error> {
        for (what, token) in [
            ("tokens.access_token", &row.access_token),
            ("tokens.refresh_token", &row.refresh_token),
            ("tokens.id_token", &row.id_token),
        ] {
            let size = token.as_ref().map_or(0, |token| token.expose().len());
            within(what, size, self.token_bytes)?;
        }
        within("the row", row.size(), self.row_bytes)
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { what, size, limit });
    }
    Ok(())
}
