//! Trouble that may happen often, and what the log says of it.

use std::time::Duration;

use tokio::time::Instant;

/// How often the log tells of the same trouble.
const TELL: Duration = Duration::from_secs(60);

/// Something that may happen often, and that the log tells of now and then.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    told: Option<Instant>,
    times: u64,
}

impl Trouble {
    /// Takes note that it happened. Returns how often it did since the log told of it, if it is time to tell again.
    pub fn happened(&mut self) -> Option<u64> {
        self.times += 1;
        if self.told.is_some_and(|told| told.elapsed() < TELL) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_tells_once_a_minute() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.happened(), Some(1));
        assert_eq!(trouble.happened(), None);
        advance(TELL).await;
        assert_eq!(trouble.happened(), Some(2));
        assert_eq!(trouble.happened(), None);
    }
}
