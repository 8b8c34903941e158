//! What is wrong for a while, and when the log told of it.

use std::time::Duration;

use tokio::time::Instant;

/// How often the log tells again of what is still wrong.
const TELL: Duration = Duration::from_secs(600);

/// Something that may be wrong for a while. It is told when it begins or changes, and later again from time to time.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<(String, Instant)>);

impl Complaint {
    /// Takes note of what is wrong. Returns whether it should be told now.
    pub fn is_news(&mut self, wrong: &str) -> bool {
        let is_told = |(told, at): &(String, Instant)| told == wrong && at.elapsed() < TELL;
        if self.0.as_ref().is_some_and(is_told) {
            return false;
        }
        self.0 = Some((wrong.to_owned(), Instant::now()));
        true
    }

    /// Takes note that what is looked at has changed: whatever is wrong with it now is told, even if it is the same.
    pub fn has_changed(&mut self) {
        if let Some((wrong, _)) = &mut self.0 {
            wrong.clear();
        }
    }

    /// Returns what is wrong and should be told again: because it is time, or because somebody asks.
    pub fn again(&mut self, is_asked: bool) -> Option<&str> {
        let (wrong, at) = self.0.as_mut()?;
        if !is_asked && at.elapsed() < TELL {
            return None;
        }
        *at = Instant::now();
        Some(wrong)
    }

    /// Takes note that all is well. Returns whether it wasn't.
    pub fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Whether something is wrong.
    pub fn is_any(&self) -> bool {
        self.0.is_some()
    }
}
