//! Points in time, to the second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: whole seconds after the Unix epoch, 1 to 253,402,300,799 (the end of year 9999).
///
/// 0 is not a time: stored rows write 0 for "none" (guarantees, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The last second of year 9999, the end of `google.protobuf.Timestamp`.
    pub const MAX: Self = Self(253_402_300_799);

    /// `None` if `seconds` is outside of the range.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        let seconds = u64::try_from(seconds).ok()?;
        (1..=Self::MAX.0)
            .contains(&seconds)
            .then_some(Self(seconds))
    }

    /// A time as stored rows write it: 0 is none, and what lies outside of the range counts as its
    /// nearer end, so that an odd number from other software expires a row rather than losing it.
    #[must_use]
    pub fn from_stored(seconds: i64) -> Option<Self> {
        (seconds != 0).then(|| Self(seconds.clamp(1, Self::MAX.seconds()).cast_unsigned()))
    }

    /// The current second by this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(since_epoch.as_secs().clamp(1, Self::MAX.0))
    }

    /// Seconds after the epoch.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.cast_signed()
    }

    /// Milliseconds after the epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 * 1000
    }

    /// This time and a span, ending at [`UnixTime::MAX`] at the latest.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()).min(Self::MAX.0))
    }
}
