//! Which calls are traced.

use std::{sync::Mutex, time::Instant};

use super::Parent;
use crate::types::lock;

/// Decides which calls are traced.
///
/// A caller that traces its own work may ask for the broker's part of it, and so may anybody who sets a flag. So that
/// nobody can have everything traced, what callers ask for is bounded. Beyond that they get what all calls get: a part of
/// them, drawn by the broker. The id of a trace has no say, because callers choose it.
#[derive(Debug)]
pub(super) struct Sampler {
    /// The part of calls that is traced although no caller asks for it, from 0 to 1.
    part: f64,
    /// How many calls a second are traced because their callers ask for it.
    asked: u32,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    calls: f64,
    at: Instant,
}

impl Sampler {
    /// Traces this part of all calls, and of those whose callers ask for it, so many a second.
    pub fn new(part: f64, asked: u32) -> Self {
        Self {
            part,
            asked,
            left: Mutex::new(Left {
                calls: asked.into(),
                at: Instant::now(),
            }),
        }
    }

    /// Whether a call that arrives `now` is traced.
    pub fn takes(&self, parent: Option<&Parent>, now: Instant) -> bool {
        match parent {
            // A trace without its beginning is of no use to anybody.
            Some(parent) if !parent.is_sampled => false,
            Some(_) if self.grants(now) => true,
            _ => self.part > 0.0 && rand::random::<f64>() < self.part,
        }
    }

    fn grants(&self, now: Instant) -> bool {
        let most = f64::from(self.asked);
        let mut left = lock(&self.left);
        let passed = now.saturating_duration_since(left.at);
        left.calls = (left.calls + passed.as_secs_f64() * most).min(most);
        left.at = left.at.max(now);
        let grants = left.calls >= 1.0;
        if grants {
            left.calls -= 1.0;
        }
        grants
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::traces::ids::{SpanId, TraceId};

    fn parent(is_sampled: bool) -> Parent {
        Parent {
            trace: TraceId(1),
            span: SpanId(1),
            is_sampled,
        }
    }

    #[test]
    fn callers_have_so_many_calls_a_second_traced() {
        let sampler = Sampler::new(0.0, 10);
        let start = Instant::now();
        let taken = |at: Instant| {
            let asks = (0..1000).filter(|_| sampler.takes(Some(&parent(true)), at));
            asks.count()
        };
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start), 0);
        assert_eq!(taken(start + Duration::from_millis(500)), 5);
        // What isn't used isn't saved up.
        assert_eq!(taken(start + Duration::from_secs(3600)), 10);
        // A clock that stands behind gives nothing.
        assert_eq!(taken(start), 0);
    }

    #[test]
    fn what_callers_ask_for_beyond_that_is_drawn_like_all_others() {
        let now = Instant::now();
        let all = Sampler::new(1.0, 0);
        assert!(all.takes(Some(&parent(true)), now) && all.takes(None, now));
        let none = Sampler::new(0.0, 0);
        assert!(!none.takes(Some(&parent(true)), now) && !none.takes(None, now));
    }

    #[test]
    fn a_caller_that_traces_nothing_gets_nothing() {
        assert!(!Sampler::new(1.0, 10).takes(Some(&parent(false)), Instant::now()));
    }

    #[test]
    fn a_part_is_a_part() {
        let sampler = Sampler::new(0.25, 0);
        let now = Instant::now();
        let taken = (0..10_000).filter(|_| sampler.takes(None, now)).count();
        // Twenty standard deviations.
        assert!((1634..=3366).contains(&taken), "{taken}");
    }
}
