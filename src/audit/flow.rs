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

/// The events that a writer takes.
#[derive(Debug)]
pub(super) struct Flow {
    gathered: Duration,
    /// When the present window began.
    begun: Instant,
    /// How many have come in it.
    counted: u32,
    is_fast: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            gathered: GATHERED,
            begun: Instant::now(),
            counted: 0,
            is_fast: false,
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
        }
    }

    /// Returns how many events are to gather while so many calls are in flight, and for how long at most, if they come fast.
    /// It is half of the calls: the others, which have yet to come to their events, keep the processor busy meanwhile.
    pub fn gathers(&self, in_flight: usize) -> Option<(usize, Duration)> {
        self.is_fast.then_some((in_flight / 2, self.gathered))
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

    #[test]
    fn after_a_rest_they_come_slowly() {
        let mut flow = Flow::default();
        assert!(is_fast(&mut flow, 10_000));
        flow.note(flow.begun + Duration::from_secs(1), 1);
        assert_eq!(flow.gathers(100), None);
    }
}
