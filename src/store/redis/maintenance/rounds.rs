//! Going through all keys until that was true of the same servers from the beginning to the end.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    error::Error,
    store::redis::link::{Link, topology::ServerSet},
};

/// How often all keys are gone through, at most.
const ROUNDS: usize = 10;
/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(500);

/// Rounds of a walk over all keys. One has to be repeated when servers changed under it: another may have taken
/// over that didn't have all that was there or was done, or keys may have moved to where they had been looked for
/// already.
#[derive(Debug)]
pub struct Rounds<'a> {
    link: &'a Link,
    left: usize,
    before: Option<ServerSet>,
}

impl<'a> Rounds<'a> {
    /// Rounds over the keys that `link` leads to.
    pub fn new(link: &'a Link) -> Self {
        Self {
            link,
            left: ROUNDS,
            before: None,
        }
    }

    /// Begins a round.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], also if there were too many.
    pub async fn begin(&mut self) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Error::store_unavailable(
                "the servers of Redis keep changing, or a slot stays on its way between two",
            )
        })?;
        self.before = Some(self.link.server_set().await?);
        Ok(())
    }

    /// Ends a round that came to `outcome`. Gives the servers that it is true of; `None`: there has to be another.
    ///
    /// # Errors
    /// That of the round, where no other server can do better.
    pub async fn end(&mut self, outcome: Result<(), Error>) -> Result<Option<ServerSet>, Error> {
        match outcome {
            Ok(()) => {
                let after = self.link.server_set().await?;
                if self.before.as_ref() == Some(&after) && !after.is_moving {
                    return Ok(Some(after));
                }
                tracing::info!("servers changed meanwhile: looking again");
            }
            Err(error) if !self.link.topology().fails_over() => return Err(error),
            Err(error) => {
                tracing::warn!(reason = error.operator_detail(), "looking again: {error}");
            }
        }
        sleep(PAUSE).await;
        Ok(None)
    }
}
