//! How fast somebody's calls are refused.
//!
//! A refusal costs little, but a client that calls again as soon as it is refused costs a core. So each refusal takes a span of
//! time out of an allowance, and when that is used up the connection of the call is read on later. Nothing is held meanwhile:
//! what the client sends waits in its own machine.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What a refusal takes: as many as this makes a second are less than a tenth of a core.
const EACH: Duration = Duration::from_micros(200);
/// What is there when nothing was refused for so long.
const ALLOWANCE: Duration = Duration::from_millis(100);
/// For how long a connection isn't read on at most. A pause is of one connection and the allowance is of all, so with many
/// connections each has to pause for long: in this time, one of them is read for about 80 of the shortest calls.
const LONGEST: Duration = Duration::from_secs(2);

/// The allowance of one caller, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Takes note of a refusal. Returns until when the connection isn't to be read on, if the allowance is used up.
    pub fn refused(&self, now: Instant) -> Option<Instant> {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = until.map_or(now, |until| until.max(now));
        let next = (begin + EACH).min(now + ALLOWANCE + LONGEST);
        *until = Some(next);
        let over = (next - now).checked_sub(ALLOWANCE)?;
        (!over.is_zero()).then(|| now + over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_refusals_cost_nothing_and_many_are_apart() {
        let (pace, mut now) = (Pace::default(), Instant::now());
        let free = (0..1_000).take_while(|_| pace.refused(now).is_none());
        assert_eq!(free.count(), 500);
        // Whoever keeps to the pauses is refused five thousand times a second.
        let begun = now;
        for _ in 0..5_000 {
            now = pace.refused(now).unwrap();
        }
        let took = (now - begun).as_millis();
        assert!((990..=1_010).contains(&took), "{took}");
        // A pause has an end.
        let longest = (0..10_000).filter_map(|_| pace.refused(now)).max().unwrap();
        assert_eq!(longest, now + LONGEST);
        // And later all is as it was.
        assert_eq!(pace.refused(now + LONGEST * 2), None);
    }
}
