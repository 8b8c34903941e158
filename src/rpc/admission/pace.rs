//! How fast somebody's calls are refused.
//!
//! A refusal costs little, but a client that calls again as soon as it is refused costs a core. So each refusal takes a span of
//! time out of an allowance, and when that is used up the connection of the call is read on later. Nothing is held meanwhile:
//! what the client sends waits in its own machine.
//!
//! The spans follow each other, whatever connection a call came over. So connections are read on one after the other, each for
//! one call, and the bound is the same for one connection and for thousands. A connection whose calls are few waits for one call
//! of each other one at most.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// What a refusal takes: several times what it costs, so that most of a core is left for others.
const EACH: Duration = Duration::from_micros(200);
/// What is there when nothing was refused for so long.
const ALLOWANCE: Duration = Duration::from_millis(100);
/// When so much of the allowance is used up, connections are read call by call. Then none is refused many calls at once.
const LOW: Duration = Duration::from_millis(50);
/// For how long a connection isn't read on at most, beside the time that one call on each connection takes. Who opens
/// connections, has a call refused and closes them leaves others to wait for that, and not for more.
const SLACK: Duration = Duration::from_millis(100);
/// For how long a connection isn't read on in any case: less than clients wait for the answer to a ping.
const LONGEST: Duration = Duration::from_secs(10);

/// The allowance of one caller, or of all whom nobody knows, over all its connections.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    /// When all refusals so far have had their time, in microseconds after `since`.
    until: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            until: AtomicU64::new(0),
        }
    }
}

impl Pace {
    /// Takes note of a refusal, while so many `connections` are open. Returns until when that of the call isn't to be read on, if
    /// the allowance is used up.
    pub fn refused(&self, now: Instant, connections: usize) -> Option<Instant> {
        let after = micros(now - self.since);
        let others = u32::try_from(connections).unwrap_or(u32::MAX);
        let longest = EACH.saturating_mul(others).saturating_add(SLACK);
        let latest = after + micros(ALLOWANCE + longest.min(LONGEST));
        let next = |until: u64| (until.max(after) + micros(EACH)).min(latest);
        let relaxed = Ordering::Relaxed;
        let updated = self
            .until
            .fetch_update(relaxed, relaxed, |until| Some(next(until)));
        let (Ok(before) | Err(before)) = updated;
        let over = (next(before) - after).checked_sub(micros(ALLOWANCE))?;
        (over > 0).then(|| now + Duration::from_micros(over))
    }

    /// Whether so much was refused lately that connections are to be read call by call.
    pub fn is_low(&self) -> bool {
        match self.until.load(Ordering::Relaxed) {
            0 => false,
            until => until > micros(self.since.elapsed()) + micros(LOW),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use tokio::time::advance;

    use super::*;

    /// How often some connections are refused in ten seconds, and how long one of them waits at most. Each calls again as soon
    /// as it is read on, all at once at first.
    fn flood(connections: usize) -> (usize, Duration) {
        let (pace, begun) = (Pace::default(), Instant::now());
        let mut reads: BinaryHeap<_> = (0..connections).map(|_| Reverse(begun)).collect();
        let (mut refused, mut longest) = (0, Duration::ZERO);
        while let Some(Reverse(now)) = reads.pop()
            && now < begun + Duration::from_secs(10)
            && refused < 1_000_000
        {
            let until = pace.refused(now, connections);
            refused += 1;
            longest = longest.max(until.map_or(Duration::ZERO, |until| until - now));
            reads.push(Reverse(until.unwrap_or(now)));
        }
        (refused, longest)
    }

    #[test]
    fn the_bound_is_the_same_however_many_connections_there_are() {
        for connections in [1, 4, 128, 4_096, 20_000] {
            let (refused, longest) = flood(connections);
            let most = 10 * 5_000 + 500 + connections;
            assert!(
                (50_000..=most).contains(&refused),
                "{connections}: {refused}"
            );
            // An innocent one waits for one call of each other one.
            let others = EACH * u32::try_from(connections).unwrap();
            assert!(longest <= others, "{connections}: {longest:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_refusals_cost_nothing_and_many_are_apart() {
        let (pace, mut now) = (Pace::default(), Instant::now());
        let free = (0..1_000).take_while(|_| pace.refused(now, 1).is_none());
        assert_eq!(free.count(), 500);
        // Whoever keeps to the pauses is refused five thousand times a second.
        let begun = now;
        for _ in 0..5_000 {
            now = pace.refused(now, 1).unwrap();
        }
        let took = now - begun;
        assert!((990..=1_010).contains(&took.as_millis()), "{took:?}");
        advance(took).await;
        assert!(pace.is_low());
        // And later all is as it was.
        advance(ALLOWANCE).await;
        assert!(!pace.is_low());
        assert_eq!(pace.refused(Instant::now(), 1), None);
    }

    /// Those who come for one call each, and pay for none, leave others to wait as long as all connections together would.
    #[test]
    fn a_pause_has_an_end_whatever_others_do() {
        for (connections, most) in [(1, 101), (1_000, 300), (1_000_000, 10_000)] {
            let (pace, now) = (Pace::default(), Instant::now());
            let refused = (0..100_000).filter_map(|_| pace.refused(now, connections));
            let longest = refused.max().unwrap() - now;
            assert!(longest <= Duration::from_millis(most), "{longest:?}");
        }
    }
}
