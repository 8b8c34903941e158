//! Repeating a walk over all keys until the servers stayed the same from its beginning to its end.

use std::time::Duration;

use tokio::time::sleep;

use crate::store::{
    Error,
    redis::link::{Link, topology::ServerSet},
};

/// How many rounds there are at most.
const ROUNDS: usize = 10;
/// How long to wait between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// Rounds of a walk over all keys.
///
/// A round has to be repeated if servers changed meanwhile. A server that took over may lack keys or changes, and one
/// that comes back has the data of the server that it followed. Keys may have moved to a server that the walk had
/// finished with.
#[derive(Debug)]
pub struct Rounds<'a> {
    link: &'a Link,
    left: usize,
    before: Option<ServerSet>,
}

impl<'a> Rounds<'a> {
    /// Returns rounds over the keys behind `link`.
    pub fn new(link: &'a Link) -> Self {
        Self {
            link,
            left: ROUNDS,
            before: None,
        }
    }

    /// Begins a round. Returns the servers that it has to cover.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], also if there were too many rounds.
    pub async fn begin(&mut self) -> Result<ServerSet, Error> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Error::unavailable(
                "the servers of Redis keep changing, or a slot stays on its way between two",
            )
        })?;
        let before = self.link.server_set().await?;
        self.before = Some(before.clone());
        Ok(before)
    }

    /// Ends a round that came to `outcome`. Returns the servers that the round covered, or `None` if there
    /// has to be another round.
    ///
    /// # Errors
    /// The error in `outcome`, if no other server can take over and the server is the one that it was.
    pub async fn end(&mut self, outcome: Result<(), Error>) -> Result<Option<ServerSet>, Error> {
        match outcome {
            Ok(()) => {
                let after = self.link.server_set().await?;
                if self.before.as_ref() == Some(&after) && !after.is_moving {
                    return Ok(Some(after));
                }
                tracing::info!("servers changed meanwhile: looking again");
            }
            Err(error) => {
                if !self.link.topology().fails_over() && !self.ask_if_changed().await {
                    return Err(error);
                }
                tracing::warn!(reason = error.detail(), "looking again: {error}");
            }
        }
        sleep(PAUSE).await;
        Ok(None)
    }

    /// Asks whether the servers surely aren't those of the beginning.
    async fn ask_if_changed(&self) -> bool {
        let now = self.link.server_set().await;
        now.is_ok_and(|now| self.before.as_ref() != Some(&now))
    }
}
