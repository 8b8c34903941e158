//! How large a value in Redis may be. Whoever can write to Redis can plant a larger one.
//!
//! No broker writes a larger value. It is read as [`TOO_LARGE`], which no reader can decode: the connection leaves it out of an
//! answer (`link/wire/bounded.rs`), and scripts don't read it whole (`scripts/lib/whole.lua`). Redis still sends what a plain
//! `GET` or `MGET` asks for. So for a while after such a value came, reads ask for no more than a value may have. That costs
//! Redis a little more, and nothing as long as nobody plants anything.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// What stands in the place of a value that is too large. `scripts/lib/whole.lua` has the same bytes.
pub const TOO_LARGE: &[u8] = b"\0too large";
/// The least limit, in bytes.
const LEAST: usize = 1 << 20;
/// How many times what may be in one message a value may have. JSON spells some characters with six bytes, an envelope makes
/// three bytes four, and what a provider answered to a refresh is stored although it is larger than a row may be.
const TIMES: usize = 8;
/// How long reads ask for no more than a value may have, after a larger one came.
const LATELY: Duration = Duration::from_secs(600);

/// How large a value may be, and whether a larger one came lately. Clones share that.
#[derive(Clone)]
pub struct Largest(Arc<Inner>);

struct Inner {
    bytes: usize,
    begun: Instant,
    /// When larger values are no longer expected, in milliseconds after `begun`. 0: none has come.
    until: AtomicU64,
}

/// Without the time at which it was made: two of the same settings print the same.
impl fmt::Debug for Largest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Largest").field(&self.0.bytes).finish()
    }
}

impl Largest {
    /// The limit where messages of `message` bytes are accepted.
    #[must_use]
    pub fn for_messages(message: usize) -> Self {
        Self(Arc::new(Inner {
            bytes: message.saturating_mul(TIMES).max(LEAST),
            begun: Instant::now(),
            until: AtomicU64::new(0),
        }))
    }

    /// The limit in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Takes note of a value that is too large.
    pub fn exceeded(&self) {
        let until = self.0.begun.elapsed().saturating_add(LATELY).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        if self.0.until.swap(until, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "a value in Redis has more than {} bytes, which no broker writes: it isn't read. `token-broker check` finds it",
                self.bytes()
            );
        }
    }

    /// Whether a value that is too large came lately.
    #[must_use]
    pub fn was_exceeded_lately(&self) -> bool {
        let until = self.0.until.load(Ordering::Relaxed);
        until > 0 && self.0.begun.elapsed() < Duration::from_millis(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_remembered_for_a_while() {
        let largest = Largest::for_messages(1);
        assert_eq!(largest.bytes(), LEAST);
        assert!(!largest.was_exceeded_lately());
        largest.clone().exceeded();
        assert!(largest.was_exceeded_lately());
        tokio::time::advance(LATELY + Duration::from_millis(1)).await;
        assert!(!largest.was_exceeded_lately());
    }
}
