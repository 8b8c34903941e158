//! Limits on tokens, rows, sessions and users (guarantees, section 2.5).

use crate::{
    error::Error,
    store::PendingLimits,
    types::{Row, TypeNames},
};

/// Limits on what the broker stores. It reads rows that other software stored whatever their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest token, in bytes.
    pub token_bytes: usize,
    /// The largest row, in bytes as [`Row::size`] counts them.
    pub row_bytes: usize,
    /// How many rows one session may have.
    pub providers: usize,
    /// How many identities one user may have.
    pub identities: usize,
    /// How many authorizations may be pending.
    pub pending: PendingLimits,
    /// Which protocol types providers may have for a name.
    pub type_names: TypeNames,
}

impl Default for Limits {
    /// Returns limits with which a full session stays below the 4 MiB that gRPC clients accept by default.
    fn default() -> Self {
        Self {
            token_bytes: 32 * 1024,
            row_bytes: 60 * 1024,
            providers: 64,
            identities: 64,
            pending: PendingLimits {
                of_client: 10_000,
                of_tenant: 100_000,
            },
            type_names: TypeNames::default(),
        }
    }
}

impl Limits {
    /// Checks that `row` and its tokens are within the limits.
    ///
    /// # Errors
    /// Returns [`Error::TooLarge`], which names the field.
    pub fn check(&self, row: &Row) -> Result<(), Error> {
        for (what, token) in [
            ("tokens.access_token", &row.access_token),
            ("tokens.refresh_token", &row.refresh_token),
            ("tokens.id_token", &row.id_token),
        ] {
            let size = token.as_ref().map_or(0, |token| token.expose().len());
            check_size(what, size, self.token_bytes)?;
        }
        check_size("the row", row.size(), self.row_bytes)
    }
}

fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { what, size, limit });
    }
    Ok(())
}
