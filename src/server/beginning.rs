//! The beginning of a connection, which the client has to send in time.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// How many bytes it has at least: the preface of HTTP/2, and an empty frame of settings.
const BYTES: usize = 24 + 9;

/// What is missing of a connection's beginning.
pub(super) struct Beginning {
    missing: usize,
    end: Pin<Box<Sleep>>,
}

impl Beginning {
    /// Returns a beginning that has to come until `end`.
    pub fn until(end: Instant) -> Self {
        Self {
            missing: BYTES,
            end: Box::pin(sleep_until(end)),
        }
    }

    /// Takes note of so many bytes more. Returns whether all have come.
    pub fn note_read(&mut self, read: usize) -> bool {
        self.missing = self.missing.saturating_sub(read);
        self.missing == 0
    }

    /// Waits until it is too late.
    pub fn poll_is_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.as_mut().poll(cx)
    }
}
