//! Whether an access token has to be refreshed (guarantees, section 2.2).

use std::time::Duration;

use super::merge::life;
use crate::types::{Row, UnixTime};

/// How long a token has to be valid at most, if the caller doesn't say and no provider's settings do.
pub const MIN_VALIDITY: Duration = Duration::from_secs(30);

/// What is known about refreshing the tokens of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a token has to be valid at most, if the caller doesn't say.
    pub margin: Duration,
    /// Whether a refresh ends the old access token, which requests under way still use.
    pub kills_access_token: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            margin: MIN_VALIDITY,
            kills_access_token: false,
        }
    }
}

/// When an access token has to be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Not yet.
    No,
    /// Soon: the caller gets it as it is, and it is refreshed behind the caller's back.
    Soon,
    /// Before it is handed out. It is still valid.
    First,
    /// Before it is handed out. It has expired, or there is none.
    Expired,
}

/// Returns when the access token of `row` has to be refreshed for a caller that wants it to be valid for `min_validity`.
///
/// A token is refreshed ahead of its end no more than once in half of its life. Else a caller who wants more than the
/// provider gives would cause a refresh a call.
#[must_use]
pub fn due(row: &Row, min_validity: Option<Duration>, terms: Terms, now: UnixTime) -> Due {
    if row.is_expired(now) {
        return Due::Expired;
    }
    let Some(left) = row.expires_at.map(|at| between(now, at)) else {
        return Due::No;
    };
    let life = life(row);
    let cap = |span: Duration| life.map_or(span, |life| span.min(life / 10));
    let usual = cap(terms.margin);
    let mut wanted = min_validity.unwrap_or(usual);
    let mut ahead = usual;
    if terms.kills_access_token {
        wanted = wanted.min(cap(terms.margin.min(MIN_VALIDITY)));
        ahead = Duration::ZERO;
    }
    let is_young = match (row.updated_at, life) {
        (Some(obtained), Some(life)) => between(obtained, now) < life / 2,
        _ => false,
    };
    if is_young || left >= wanted.saturating_add(ahead) {
        Due::No
    } else if left >= wanted {
        Due::Soon
    } else {
        Due::First
    }
}

fn between(from: UnixTime, to: UnixTime) -> Duration {
    Duration::from_secs(u64::try_from(to.seconds() - from.seconds()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    const OBTAINED: i64 = 10_000;

    /// Returns when a token that lives for `life` seconds is due when it has `left`.
    fn when(life: i64, left: i64, min_validity: Option<u64>, terms: Terms) -> Due {
        let at = |seconds| UnixTime::from_seconds(seconds);
        let row = Row {
            access_token: Secret::new("a".to_owned()),
            expires_at: at(OBTAINED + life),
            updated_at: at(OBTAINED),
            ..Row::default()
        };
        let min_validity = min_validity.map(Duration::from_secs);
        due(
            &row,
            min_validity,
            terms,
            at(OBTAINED + life - left).unwrap(),
        )
    }

    #[test]
    fn if_the_caller_does_not_say() {
        let when = |life, left| when(life, left, None, Terms::default());
        assert_eq!(
            [60, 59, 30].map(|left| when(3_600, left)),
            [Due::No, Due::Soon, Due::Soon]
        );
        assert_eq!(
            [29, 1, 0].map(|left| when(3_600, left)),
            [Due::First, Due::First, Due::Expired]
        );
        // A token that lives for 100 s is refreshed first in its last 10.
        assert_eq!(
            [20, 19, 10, 9].map(|left| when(100, left)),
            [Due::No, Due::Soon, Due::Soon, Due::First]
        );
    }

    #[test]
    fn a_caller_who_wants_more_than_there_is_causes_one_refresh_in_half_of_a_life() {
        let when = |left| when(1_800, left, Some(3_600), Terms::default());
        assert_eq!(
            [1_800, 901, 900, 0].map(when),
            [Due::No, Due::No, Due::First, Due::Expired]
        );
    }

    #[test]
    fn where_a_refresh_ends_the_old_token_little_is_refreshed_ahead() {
        let terms = Terms {
            kills_access_token: true,
            ..Terms::default()
        };
        let when = |left| when(3_600, left, Some(600), terms);
        assert_eq!([599, 30, 29].map(when), [Due::No, Due::No, Due::First]);
    }

    #[test]
    fn rows_that_tell_less() {
        let now = UnixTime::from_seconds(1_000).unwrap();
        let none = Row::default();
        assert_eq!(due(&none, None, Terms::default(), now), Due::Expired);
        let for_ever = Row {
            access_token: Secret::new("a".to_owned()),
            ..Row::default()
        };
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(due(&for_ever, day, Terms::default(), now), Due::No);
        // Nothing tells when it was obtained.
        let toolhives = Row {
            expires_at: UnixTime::from_seconds(1_020),
            ..for_ever
        };
        assert_eq!(due(&toolhives, None, Terms::default(), now), Due::First);
    }
}
