//! How fast events come, and so whether a writer lets some gather before it writes.
//!
//! A write costs system calls: the write itself, and those that wake the writer and then whoever waits for the events. So
//! while events come fast, fewer and larger writes leave more of the processor to calls. While they come slowly, each is written
//! at once.

use std::time::{Duration, Instant};

/// How long events gather at most.
const GATHERED: Duration = Duration::from_micros(500);
/// Events come fast if more than so many come while others gather.
const FAST: f64 = 6.0;
/// Over how long they are counted.
const WINDOW: Duration = Duration::from_millis(10);
/// If nothing has come in this part of the time at its end, nothing more will come soon.
const STALLED: u32 = 4;
/// After so many gatherings that were enough, one more call is taken to be at work.
const ENOUGH: usize = 16;

/// The events that a writer takes.
#[derive(Debug)]
pub(super) struct Flow {
    gathered: Duration,
    /// When the present window began.
    begun: Instant,
    /// How many have come in it.
    counted: u32,
    is_fast: bool,
    /// How many calls are at work at most, as the last gathering that stalled has shown. Calls that wait for a provider, or for
    /// the rest of their requests, come to no event for long.
    at_work: usize,
    /// How many gatherings were enough since that last changed.
    enough: usize,
}

/// What has come when a writer stops to wait for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    pub wanted: usize,
    pub came: usize,
    /// Since when no event has come and no call was begun, if that is so.
    pub still_since: Option<Instant>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            gathered: GATHERED,
            begun: Instant::now(),
            counted: 0,
            is_fast: false,
            at_work: usize::MAX,
            enough: 0,
        }
    }
}

impl Flow {
    /// Takes note of so many more events.
    pub fn note(&mut self, now: Instant, events: usize) {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.counted = self.counted.saturating_add(events);
        let span = now.saturating_duration_since(self.begun);
        if span >= WINDOW {
            self.is_fast = f64::from(self.counted) > FAST * span.div_duration_f64(GATHERED);
            (self.begun, self.counted) = (now, 0);
            if !self.is_fast {
                self.at_work = usize::MAX;
            }
        }
    }

    /// Returns how many events are to gather while so many calls are in flight, and for how long at most, if they come fast.
    /// It is half of those at work: the others, which have yet to come to their events, keep the processor busy meanwhile.
    pub fn gathers(&self, in_flight: usize) -> Option<(usize, Duration)> {
        let wanted = in_flight.min(self.at_work) / 2;
        self.is_fast.then_some((wanted, self.gathered))
    }

    /// Takes note of what has come. If it is too little, and nothing has stirred lately, all calls at work wait for their events.
    pub fn note_gathered(&mut self, now: Instant, gathered: Gathered) {
        let Gathered {
            wanted,
            came,
            still_since,
        } = gathered;
        let still = still_since.map(|since| now.saturating_duration_since(since));
        if came >= wanted {
            self.enough += 1;
            if self.enough >= ENOUGH {
                self.at_work = self.at_work.saturating_add(1);
                self.enough = 0;
            }
        } else if still.is_some_and(|still| still >= self.gathered / STALLED) {
            (self.at_work, self.enough) = (came, 0);
        }
    }

    /// Returns a flow of events that come fast, of which a writer waits so long for some.
    #[cfg(test)]
    pub fn fast(gathered: Duration) -> Self {
        Self {
            gathered,
            is_fast: true,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether events come fast when one comes at a time, so many in each window.
    fn is_fast(flow: &mut Flow, events: u32) -> bool {
        let begun = flow.begun;
        for number in 1..=events {
            flow.note(begun + WINDOW * number / events, 1);
        }
        flow.gathers(100).is_some()
    }

    #[test]
    fn events_gather_while_they_come_fast() {
        let mut flow = Flow::default();
        assert!(!is_fast(&mut flow, 120), "as many as the limit is");
        assert!(is_fast(&mut flow, 121));
        assert_eq!(flow.gathers(100), Some((50, GATHERED)));
        assert!(!is_fast(&mut flow, 120));
    }

    /// Calls that come to no event for long keep nobody waiting for them.
    #[test]
    fn calls_that_are_not_at_work_are_not_waited_for() {
        let mut flow = Flow::fast(GATHERED);
        let now = Instant::now() + GATHERED;
        let mut gather = |came, still_since| {
            let (wanted, _) = flow.gathers(100)?;
            flow.note_gathered(
                now,
                Gathered {
                    wanted,
                    came,
                    still_since,
                },
            );
            flow.gathers(100).map(|(wanted, _)| wanted)
        };
        let (stalled, going_on) = (Some(now - GATHERED / 4), Some(now - GATHERED / 5));
        assert_eq!(gather(8, going_on), Some(50), "more would have come");
        assert_eq!(
            gather(8, None),
            Some(50),
            "calls were begun, which will come"
        );
        assert_eq!(gather(8, stalled), Some(4), "nothing more would have come");
        // More are tried now and then, and so it is found when they are at work again.
        let longer = (0..)
            .take_while(|_| gather(100, going_on) < Some(9))
            .count();
        assert!((100..=200).contains(&longer), "{longer}");
        let all = (0..)
            .take_while(|_| gather(100, going_on) < Some(50))
            .count();
        assert!(all < 2_000, "{all}");
    }

    #[test]
    fn after_a_rest_they_come_slowly() {
        let mut flow = Flow::default();
        assert!(is_fast(&mut flow, 10_000));
        flow.at_work = 1;
        flow.note(flow.begun + Duration::from_secs(1), 1);
        assert_eq!(flow.gathers(100), None);
        assert!(is_fast(&mut flow, 10_000));
        assert_eq!(
            flow.gathers(100),
            Some((50, GATHERED)),
            "all may be at work"
        );
    }
}
