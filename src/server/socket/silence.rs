//! How long nothing has come over a connection, or nothing could be sent.

use std::time::Duration;

/// In how many looks a connection is found to be silent.
pub(super) const LOOKS: u32 = 8;

/// For how many looks nothing has come, or nothing could be sent.
#[derive(Clone, Copy, Default)]
pub(in crate::server) struct Silence(u32);

impl Silence {
    /// Takes note of a look, at something that is silent unless it has nothing to say. Returns whether it has been for
    /// too long.
    pub fn look(&mut self, is_idle: bool) -> bool {
        self.0 = if is_idle { 0 } else { self.0 + 1 };
        self.0 > LOOKS
    }

    pub fn end(&mut self) {
        self.0 = 0;
    }

    /// Whether there was a look since anything came.
    pub fn has_begun(self) -> bool {
        self.0 > 0
    }

    /// Returns how long to wait between two looks if a connection may be silent for `idle`.
    pub fn pause(idle: Duration) -> Duration {
        (idle / LOOKS).max(Duration::from_millis(1))
    }
}
