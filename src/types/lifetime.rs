//! How long a row is kept (guarantees, section 3.1).

use std::time::Duration;

use super::{Row, UnixTime};

/// The shortest time that a row is kept. A caller that stores a row whose end has passed can still read it
/// back.
const SHORTEST: Duration = Duration::from_secs(1);

/// Returns how long `row` is kept from `now` on. `None` means until it is deleted.
#[must_use]
pub fn keep_for(row: &Row, now: UnixTime, refresh_lifetime: Duration) -> Option<Duration> {
    let until = match (row.expires_at, row.refresh_expires_at) {
        (Some(expires), Some(refresh_expires)) if refresh_expires > expires => refresh_expires,
        (Some(expires), _) => expires.plus(refresh_lifetime),
        (None, _) => row.session_expires_at?.plus(refresh_lifetime),
    };
    let seconds = u64::try_from(until.seconds() - now.seconds()).unwrap_or(0);
    Some(Duration::from_secs(seconds).max(SHORTEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn kept(expires: i64, session: i64, refresh: i64) -> Option<u64> {
        let row = Row {
            expires_at: UnixTime::from_stored(expires),
            session_expires_at: UnixTime::from_stored(session),
            refresh_expires_at: UnixTime::from_stored(refresh),
            ..Row::default()
        };
        let now = UnixTime::from_seconds(1_000_000).unwrap();
        keep_for(&row, now, Duration::from_secs(30 * DAY)).map(|span| span.as_secs())
    }

    #[test]
    fn each_case() {
        assert_eq!(
            kept(1_003_600, 0, 1_007_200),
            Some(7_200),
            "refresh token's own end"
        );
        assert_eq!(
            kept(1_003_600, 0, 1_003_600),
            Some(3_600 + 30 * DAY),
            "not later"
        );
        assert_eq!(
            kept(1_003_600, 1_000_060, 0),
            Some(3_600 + 30 * DAY),
            "access token's end"
        );
        assert_eq!(kept(0, 1_000_060, 0), Some(60 + 30 * DAY), "session's end");
        assert_eq!(
            kept(0, 1_000_060, 1_000_010),
            Some(60 + 30 * DAY),
            "never is not passed"
        );
        assert_eq!(kept(0, 0, 0), None);
        assert_eq!(kept(1, 0, 2), Some(1), "long past");
        assert_eq!(kept(1, 0, 0), Some(30 * DAY - 999_999));
    }
}
