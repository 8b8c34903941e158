//! Points in time, to the second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: whole seconds after the Unix epoch, from 1 to 253,402,300,799 (the end of year 9999).
///
/// 0 is not a time, because stored rows write 0 for "none" (guarantees, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The last second of year 9999, which is the largest value of `google.protobuf.Timestamp`.
    pub const MAX: Self = Self(253_402_300_799);

    /// Returns the time `seconds` after the epoch, or `None` if it is outside of the range.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        let seconds = u64::try_from(seconds).ok()?;
        (1..=Self::MAX.0)
            .contains(&seconds)
            .then_some(Self(seconds))
    }

    /// Reads a time as stored rows write it. Returns `None` for 0. A number outside of the range becomes the
    /// nearer end of the range: an invalid number from other software then expires the row, and doesn't make
    /// it unreadable.
    #[must_use]
    pub fn from_stored(seconds: i64) -> Option<Self> {
        (seconds != 0).then(|| Self(seconds.clamp(1, Self::MAX.seconds()).cast_unsigned()))
    }

    /// Returns the current second of this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(since_epoch.as_secs().clamp(1, Self::MAX.0))
    }

    /// Returns the seconds after the epoch.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.cast_signed()
    }

    /// Returns the milliseconds after the epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 * 1000
    }

    /// Returns the time `span` after this one, at most [`UnixTime::MAX`].
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()).min(Self::MAX.0))
    }
}
