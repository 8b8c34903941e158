//! Why calls to one provider failed: for callers who would have to wait because of that, and for the log.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::error::{Error, ProviderFailure};

/// So many rows are remembered at most.
const ROWS: usize = 4_096;
/// So many texts that were logged are remembered at most.
const TOLD: usize = 64;

/// The failures of one provider in this process. Time is passed in.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Why the last call failed in a way that says something about the provider, since one worked.
    last: Option<Error>,
    /// Why the last call about a row failed in a way that says nothing about the provider. By a hash of the row.
    of_rows: HashMap<u64, Error>,
    /// When a text was logged last.
    told: HashMap<String, Instant>,
}

impl Failures {
    /// Notes why a call failed in a way that says something about the provider.
    pub fn of_provider(&mut self, error: &Error) {
        self.last = Some(error.clone());
    }

    /// Notes why a call about a row failed in a way that says nothing about the provider.
    pub fn of_row(&mut self, row: u64, error: &Error) {
        if self.of_rows.len() >= ROWS && !self.of_rows.contains_key(&row) {
            // Who asks gets a text that says less.
            self.of_rows.clear();
        }
        self.of_rows.insert(row, error.clone());
    }

    /// Notes that the provider works.
    pub fn works(&mut self) {
        self.last = None;
    }

    /// Notes that a row was refreshed, or that its token is refused.
    pub fn row_is_settled(&mut self, row: u64) {
        self.of_rows.remove(&row);
    }

    /// Takes note of `text`. Returns whether it is to be logged: it wasn't within `span` before.
    pub fn note_news(&mut self, text: &str, span: Duration, now: Instant) -> bool {
        let last = self.told.get(text);
        if last.is_some_and(|last| now.saturating_duration_since(*last) < span) {
            return false;
        }
        if self.told.len() >= TOLD && last.is_none() {
            let oldest = self.told.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(text, _)| text.clone()) {
                self.told.remove(&oldest);
            }
        }
        self.told.insert(text.to_owned(), now);
        true
    }

    /// Returns the error for a caller who would have to wait for `span`, because calls about the row failed, or those of
    /// others if no `row` is given.
    pub fn error(&self, row: Option<u64>, span: Duration) -> Error {
        let of_row = row.and_then(|row| self.of_rows.get(&row));
        match of_row.or(self.last.as_ref()).cloned() {
            Some(error @ Error::ProviderMisconfigured(_)) => error,
            Some(Error::ProviderUnavailable { failure, .. }) => Error::ProviderUnavailable {
                failure,
                retry_after: Some(span),
            },
            _ => Error::ProviderUnavailable {
                failure: ProviderFailure("an earlier refresh of the row failed".to_owned()),
                retry_after: Some(span),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(error: &Error) -> String {
        error.operator_detail().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_is_wrong_with_a_row_is_told_to_those_who_ask_for_it_alone() {
        let mut failures = Failures::default();
        let span = Duration::from_secs(3);
        failures.of_row(1, &Error::provider_unavailable("odd"));
        assert_eq!(why(&failures.error(Some(1), span)), "odd");
        assert_eq!(failures.error(Some(1), span).retry_after(), Some(span));
        for row in [Some(2), None] {
            let other = why(&failures.error(row, span));
            assert_eq!(other, "an earlier refresh of the row failed");
        }
        failures.of_provider(&Error::provider_unavailable("down"));
        assert_eq!(why(&failures.error(Some(2), span)), "down");
        assert_eq!(why(&failures.error(Some(1), span)), "odd");
        failures.row_is_settled(1);
        failures.works();
        let left = why(&failures.error(Some(1), span));
        assert_eq!(left, "an earlier refresh of the row failed");
    }

    #[test]
    fn little_is_kept() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for number in 0..10_000 {
            failures.of_row(number, &Error::provider_unavailable("odd"));
            failures.note_news(&number.to_string(), Duration::MAX, now);
        }
        assert!(failures.of_rows.len() <= ROWS && failures.told.len() <= TOLD);
    }

    #[test]
    fn a_text_is_logged_once_in_a_span() {
        let mut failures = Failures::default();
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let mut note_news =
            |text, at| failures.note_news(text, minute, now + Duration::from_secs(at));
        assert!(note_news("a", 0) && note_news("b", 0));
        assert!(!note_news("a", 59));
        assert!(note_news("a", 60));
    }
}
