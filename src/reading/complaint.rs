//! What is wrong for a while, and when the log told of it.

use std::time::Duration;

use tokio::time::Instant;

/// How often the log tells again of what is still wrong.
const TELL: Duration = Duration::from_secs(600);

/// Something that may be wrong for a while. It is told when it begins or changes, and later again from time to time.
#[derive(Debug, Default)]
pub struct Complaint(Option<(String, Instant)>);

impl Complaint {
    /// Takes note of what is wrong. Returns whether it should be told now.
    pub fn note_news(&mut self, wrong: &str) -> bool {
        let is_told = |(told, at): &(String, Instant)| told == wrong && at.elapsed() < TELL;
        if self.0.as_ref().is_some_and(is_told) {
            return false;
        }
        self.note_told(wrong);
        true
    }

    /// Takes note that this is wrong, and was told just now.
    pub fn note_told(&mut self, wrong: &str) {
        self.0 = Some((wrong.to_owned(), Instant::now()));
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
    pub fn note_over(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Whether something is wrong.
    pub fn is_any(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_when_it_is_new_and_from_time_to_time() {
        let mut complaint = Complaint::default();
        assert!(!complaint.is_any() && complaint.again(true).is_none());
        assert!(complaint.note_news("one"));
        assert!(!complaint.note_news("one") && complaint.is_any());
        assert_eq!(complaint.again(false), None);
        assert_eq!(complaint.again(true), Some("one"), "somebody asks");
        advance(TELL).await;
        assert_eq!(complaint.again(false), Some("one"));
        assert!(!complaint.note_news("one"), "it was told just now");
        assert!(complaint.note_news("another"));
        advance(TELL).await;
        assert!(complaint.note_news("another"));
        assert!(complaint.note_over() && !complaint.note_over());
        assert!(complaint.note_news("another"), "it has come back");
    }
}
