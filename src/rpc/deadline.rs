//! The deadline of a call: its caller's timeout or the broker's own, whichever ends sooner.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataMap;

use crate::error::Error;

/// How much earlier than tonic the broker ends a call. tonic wraps the handlers and answers
/// `CANCELLED` when the caller's deadline passes. The broker answers first, with the right code,
/// `DEADLINE_EXCEEDED`.
const AHEAD_OF_TONIC: Duration = Duration::from_millis(5);

/// The moment at which a call ends, whether it is done or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline of a call that arrived at `started` with `metadata`. It is the caller's
    /// deadline if there is one, but at the latest `longest` after `started`.
    #[must_use]
    pub fn of_call(started: Instant, metadata: &MetadataMap, longest: Duration) -> Self {
        let allowed = match callers_timeout(metadata) {
            Some(timeout) => timeout.saturating_sub(AHEAD_OF_TONIC).min(longest),
            None => longest,
        };
        Self(started + allowed)
    }

    /// Runs `work` until the deadline. To bound a stream, call this for each of its items.
    ///
    /// # Errors
    /// Returns the error of `work`, or [`Error::DeadlineExceeded`] if the deadline passes first.
    pub async fn bound<T>(self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout_at(self.0, work)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))
    }
}

/// Parses the caller's timeout from the header `grpc-timeout` ("PROTOCOL-HTTP2" of gRPC): at most
/// eight digits and a unit. Ignores a malformed header, as tonic does.
fn callers_timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::{StreamExt, stream};

    use super::*;

    fn metadata(timeout: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        metadata
    }

    #[test]
    fn timeouts_on_the_wire() {
        for (text, expected) in [
            ("250m", Some(Duration::from_millis(250))),
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("999999999S", None),
            ("1", None),
            ("S", None),
            ("+1S", None),
            ("1x", None),
        ] {
            assert_eq!(callers_timeout(&metadata(text)), expected, "{text}");
        }
        assert_eq!(callers_timeout(&MetadataMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_deadline_ends_a_call() {
        let longest = Duration::from_secs(10);
        for (timeout, expected) in [("100m", 0.1), ("30S", 10.0)] {
            let started = Instant::now();
            let deadline = Deadline::of_call(started, &metadata(timeout), longest);
            let ended = deadline.bound(pending::<Result<(), Error>>()).await;
            assert!(matches!(ended, Err(Error::DeadlineExceeded)));
            let took = started.elapsed().as_secs_f64();
            assert!(
                took <= expected && took > expected - 0.01,
                "{timeout}: {took}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_deadline() {
        let longest = Duration::from_secs(1);
        let deadline = Deadline::of_call(Instant::now(), &MetadataMap::new(), longest);
        let mut numbers = stream::iter([1]).chain(stream::pending());
        let mut next = async || deadline.bound(async { Ok(numbers.next().await) }).await;
        assert_eq!(next().await.unwrap(), Some(1));
        assert!(matches!(next().await, Err(Error::DeadlineExceeded)));
    }
}
