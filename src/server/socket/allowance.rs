//! How many frames of a connection are read.
//!
//! Calls and their messages come in few frames, and have bounds of their own. What else HTTP/2 has frames for, such as pings,
//! settings, windows and priorities, costs a client next to nothing, and a client that sends nothing else would keep a core busy.

use std::time::Duration;

use tokio::time::Instant;

/// What a frame costs. A byte that is read or sent pays for itself, and so a frame is paid for by 1 KiB of messages.
const FRAME: u64 = 1024;
/// How many frames a call pays for: its headers and its message, their windows and pings, and its reset.
const OF_A_CALL: u64 = 16;
/// How many frames nothing else has to pay for, in a second...
const A_SECOND: u64 = 1_000;
/// ...and at once.
const AT_ONCE: u64 = 1_000;

/// What a connection may still have read.
#[derive(Debug)]
pub(super) struct Allowance {
    /// In bytes. What was read at once may have cost more than there was.
    left: i64,
    /// Since when no time has been paid for.
    since: Instant,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            left: signed(AT_ONCE * FRAME),
            since: Instant::now(),
        }
    }
}

impl Allowance {
    /// Takes note of so many frames in so many bytes that were read, with which so many calls began.
    pub fn note_read(&mut self, frames: u64, bytes: usize, calls: u64) {
        let cost = frames.saturating_mul(FRAME);
        self.left = self.left.saturating_sub(signed(cost));
        self.add((bytes as u64).saturating_add(calls.saturating_mul(OF_A_CALL * FRAME)));
    }

    /// Takes note of so many bytes that were sent. The client grants more by frames.
    pub fn note_sent(&mut self, bytes: usize) {
        self.add(bytes as u64);
    }

    /// Returns until when nothing may be read, or `None` if something may be.
    pub fn spent_until(&mut self) -> Option<Instant> {
        if self.left > 0 {
            return None;
        }
        let now = Instant::now();
        let span = now.saturating_duration_since(self.since);
        self.since = now;
        let earned =
            span.as_nanos() * u128::from(A_SECOND * FRAME) / Duration::from_secs(1).as_nanos();
        self.add(u64::try_from(earned).unwrap_or(u64::MAX));
        let missing = u64::try_from(1 - self.left)
            .ok()
            .filter(|missing| *missing > 0)?;
        let wait = Duration::from_secs(1).mul_f64(missing as f64 / (A_SECOND * FRAME) as f64);
        // No shorter than the timer can tell.
        Some(now + wait.max(Duration::from_millis(1)))
    }

    fn add(&mut self, earned: u64) {
        let most = signed(AT_ONCE * FRAME);
        self.left = self.left.saturating_add(signed(earned)).min(most);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    /// Reads so many frames of so many bytes, each with so many calls, and returns how long that takes.
    async fn takes(frames: u64, bytes: usize, calls: u64) -> Duration {
        let begun = Instant::now();
        let mut allowance = Allowance::default();
        for _ in 0..frames {
            while let Some(until) = allowance.spent_until() {
                sleep_until(until).await;
            }
            allowance.note_read(1, bytes, calls);
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_nothing_pays_for_are_read_at_a_pace() {
        assert_eq!(takes(900, 17, 0).await, Duration::ZERO);
        let took = takes(11_000, 17, 0).await.as_secs_f64();
        assert!((9.0..=10.1).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_and_messages_pay_for_their_frames() {
        assert_eq!(takes(100_000, 50, 1).await, Duration::ZERO);
        assert_eq!(takes(100_000, 1024, 0).await, Duration::ZERO);
        // An answer of 4 MiB to who grants 4 KiB at a time, of the stream and of the connection.
        let mut allowance = Allowance::default();
        for _ in 0..1024 {
            allowance.note_sent(4096);
            allowance.note_read(2, 26, 0);
            assert_eq!(allowance.spent_until(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_at_once_is_paid_for_later_and_a_rest_saves_little() {
        let mut allowance = Allowance::default();
        allowance.note_read(3_000, 0, 0);
        let until = allowance.spent_until().unwrap();
        assert!(until >= Instant::now() + Duration::from_secs(2));
        advance(Duration::from_secs(3_600)).await;
        assert_eq!(allowance.spent_until(), None);
        allowance.note_read(1_001, 0, 0);
        assert!(allowance.spent_until().is_some());
    }
}
