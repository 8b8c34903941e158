//! The deadline of a call: its caller's timeout or the broker's own, whichever ends sooner.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, Sleep, sleep_until};

/// An answer is made by so much before its call ends, so that it leaves in time: at most this...
const MARGIN: Duration = Duration::from_millis(100);
/// ...and at most one part in so many of the time that the call has.
const PART: u32 = 10;

/// The moment at which a call ends, whether it is done or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline of a call that arrived at `started` with `headers`. It is the caller's
    /// deadline if there is one, but at the latest `longest` after `started`.
    #[must_use]
    pub fn of_call(started: Instant, headers: &HeaderMap, longest: Duration) -> Self {
        let allowed = callers_timeout(headers).map_or(longest, |timeout| timeout.min(longest));
        Self(started + allowed)
    }

    /// Returns the moment.
    #[must_use]
    pub fn moment(self) -> Instant {
        self.0
    }

    /// Returns by when a call that arrived at `started` has to have its answer, so that it leaves in time.
    #[must_use]
    pub fn answer_by(self, started: Instant) -> Instant {
        let allowed = self.0.saturating_duration_since(started);
        self.0 - MARGIN.min(allowed / PART)
    }

    /// Returns a future that is ready at the deadline.
    pub fn sleep(self) -> Sleep {
        sleep_until(self.0)
    }
}

/// Parses the caller's timeout from the header `grpc-timeout` ("PROTOCOL-HTTP2" of gRPC): at most
/// eight digits and a unit. Ignores a malformed header.
fn callers_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
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
    use super::*;

    fn headers(timeout: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", timeout.parse().unwrap());
        headers
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
            assert_eq!(callers_timeout(&headers(text)), expected, "{text}");
        }
        assert_eq!(callers_timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn an_answer_is_made_a_little_before_the_deadline() {
        let started = Instant::now();
        for (timeout, expected) in [("5S", 4_900), ("200m", 180), ("0m", 0)] {
            let deadline = Deadline::of_call(started, &headers(timeout), Duration::from_secs(10));
            let by = deadline.answer_by(started);
            assert_eq!((by - started).as_millis(), expected, "{timeout}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_deadline_ends_a_call() {
        let longest = Duration::from_secs(10);
        for (timeout, expected) in [("100m", 0.1), ("30S", 10.0)] {
            let started = Instant::now();
            let deadline = Deadline::of_call(started, &headers(timeout), longest);
            deadline.sleep().await;
            let took = started.elapsed().as_secs_f64();
            assert!((took - expected).abs() < 0.01, "{timeout}: {took}");
        }
    }
}
