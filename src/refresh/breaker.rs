//! A breaker: stops calls to a provider that fails, and lets one through now and then to see whether it works again.
//!
//! It counts the rows whose calls failed, and not the calls: one row that a provider chokes on says nothing about the
//! others.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BreakerOptions {
    /// How many different rows have to fail.
    pub rows: usize,
    /// Within which time they have to fail, without a success between them.
    pub within: Duration,
    /// How long the breaker is open at first. Each probe that fails doubles it.
    pub pause: Duration,
    /// How long the breaker is open at most.
    pub longest_pause: Duration,
    /// After which time a probe that nobody reported on counts as failed.
    pub probe: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            rows: 3,
            within: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            probe: Duration::from_secs(60),
        }
    }
}

/// Tells a probe from those before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeId(u64);

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The breaker is closed.
    Free,
    /// The breaker is open, and this call is the one that finds out whether the provider works again. The caller must
    /// report its outcome, or call [`Breaker::withdraw`] if it makes no call.
    Probe(ProbeId),
    /// The breaker is open.
    Stopped {
        /// How long it makes no sense to ask again.
        retry_after: Duration,
    },
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    Probing {
        id: ProbeId,
        until: Instant,
        pause: Duration,
    },
}

/// The breaker of one provider. `R` tells rows apart. Time is passed in.
#[derive(Debug)]
pub struct Breaker<R> {
    options: BreakerOptions,
    state: State,
    /// How many probes there were.
    probes: u64,
    /// When each row last failed since the last success.
    failed: HashMap<R, Instant>,
}

impl<R: Eq + Hash> Breaker<R> {
    /// Returns a breaker that is closed.
    #[must_use]
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: State::Closed,
            probes: 0,
            failed: HashMap::new(),
        }
    }

    /// Whether the breaker stops calls at `now`, apart from probes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Returns how long it makes no sense to ask for a call, if calls are stopped at `now`.
    #[must_use]
    pub fn stopped(&self, now: Instant) -> Option<Duration> {
        let (until, at_most) = match self.state {
            State::Closed => return None,
            State::Open { until, .. } => (until, Duration::MAX),
            // A probe is mostly answered long before it counts as failed.
            State::Probing { until, pause, .. } => (until, pause),
        };
        let left = until.saturating_duration_since(now).min(at_most);
        (!left.is_zero()).then_some(left)
    }

    /// Asks for a call at `now`.
    pub fn admit(&mut self, now: Instant) -> Admission {
        if let Some(retry_after) = self.stopped(now) {
            return Admission::Stopped { retry_after };
        }
        let pause = match self.state {
            State::Closed => return Admission::Free,
            State::Open { pause, .. } | State::Probing { pause, .. } => pause,
        };
        self.probes += 1;
        let id = ProbeId(self.probes);
        self.state = State::Probing {
            id,
            until: now + self.options.probe,
            pause,
        };
        Admission::Probe(id)
    }

    /// Notes that a call about `row` failed in a way that says that the provider is down. `probe` is the probe that the call
    /// is, if it is one. Returns whether the breaker was closed and opens.
    pub fn failed(&mut self, row: R, probe: Option<ProbeId>, now: Instant) -> bool {
        if let Some(pause) = self.pause_of(probe) {
            let longer = (pause * 2).min(self.options.longest_pause);
            self.open(longer, now);
            return false;
        }
        // Otherwise the call began before the breaker opened, and tells nothing that isn't known.
        if let State::Closed = self.state {
            let within = self.options.within;
            self.failed
                .retain(|_, at| now.saturating_duration_since(*at) < within);
            self.failed.insert(row, now);
            if self.failed.len() >= self.options.rows {
                self.open(self.options.pause, now);
                return true;
            }
        }
        false
    }

    /// Notes that the provider answered as one that works, whatever it answered. Returns whether the breaker was open.
    pub fn succeeded(&mut self) -> bool {
        let was_open = self.is_open();
        self.state = State::Closed;
        self.failed.clear();
        was_open
    }

    /// Notes that this probe told nothing: the answer may be about its row alone. Another one may be made soon.
    pub fn unclear(&mut self, probe: ProbeId, now: Instant) {
        if let Some(pause) = self.pause_of(Some(probe)) {
            self.state = State::Open {
                until: now + self.options.pause,
                pause,
            };
        }
    }

    /// Notes that this probe made no call. The next one may be made at once.
    pub fn withdraw(&mut self, probe: ProbeId, now: Instant) {
        if let Some(pause) = self.pause_of(Some(probe)) {
            self.state = State::Open { until: now, pause };
        }
    }

    /// Returns the pause that came before this probe, if it is the one that is awaited.
    fn pause_of(&self, probe: Option<ProbeId>) -> Option<Duration> {
        match self.state {
            State::Probing { id, pause, .. } if probe == Some(id) => Some(pause),
            _ => None,
        }
    }

    fn open(&mut self, pause: Duration, now: Instant) {
        self.failed.clear();
        self.state = State::Open {
            until: now + pause,
            pause,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions {
        rows: 3,
        within: Duration::from_secs(10),
        pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(3),
        probe: Duration::from_secs(20),
    };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn open_at(now: Instant) -> Breaker<u32> {
        let mut breaker = Breaker::new(OPTIONS);
        (0..3).for_each(|row| _ = breaker.failed(row, None, now));
        breaker
    }

    fn probe(breaker: &mut Breaker<u32>, now: Instant) -> ProbeId {
        match breaker.admit(now) {
            Admission::Probe(id) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn different_rows_open_it_and_one_row_alone_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(OPTIONS);
        (0..100).for_each(|_| _ = breaker.failed(1, None, now));
        assert_eq!(breaker.admit(now), Admission::Free);
        assert!(!breaker.failed(2, None, now) && !breaker.is_open());
        assert!(breaker.failed(3, None, now));
        let retry_after = seconds(1);
        assert_eq!(breaker.admit(now), Admission::Stopped { retry_after });
    }

    #[test]
    fn old_failures_and_those_before_a_success_do_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(OPTIONS);
        breaker.failed(1, None, now);
        breaker.failed(2, None, now + seconds(5));
        breaker.failed(3, None, now + seconds(11));
        assert!(!breaker.is_open());
        breaker.succeeded();
        breaker.failed(4, None, now + seconds(11));
        breaker.failed(5, None, now + seconds(11));
        assert!(!breaker.is_open());
    }

    #[test]
    fn one_probe_at_a_time_finds_out() {
        let now = Instant::now();
        let mut breaker = open_at(now);
        let later = now + seconds(1);
        probe(&mut breaker, later);
        // The others ask again soon, and not when the probe counts as failed.
        let retry_after = seconds(1);
        assert_eq!(breaker.admit(later), Admission::Stopped { retry_after });
        breaker.succeeded();
        assert_eq!(breaker.admit(later), Admission::Free);
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut now = Instant::now();
        let mut breaker = open_at(now);
        for pause in [1, 2, 3, 3] {
            assert!(matches!(
                breaker.admit(now),
                Admission::Stopped { retry_after } if retry_after == seconds(pause)
            ));
            now += seconds(pause);
            let probe = probe(&mut breaker, now);
            breaker.failed(9, Some(probe), now);
        }
    }

    #[test]
    fn a_probe_that_ends_in_silence_makes_room_for_another() {
        let now = Instant::now();
        let mut breaker = open_at(now);
        let probed = now + seconds(1);
        probe(&mut breaker, probed);
        assert!(matches!(
            breaker.admit(probed + seconds(19)),
            Admission::Stopped { .. }
        ));
        let second = probe(&mut breaker, probed + seconds(20));
        breaker.withdraw(second, probed + seconds(20));
        probe(&mut breaker, probed + seconds(20));
    }

    #[test]
    fn a_probe_that_tells_nothing_neither_closes_it_nor_lengthens_the_pause() {
        let now = Instant::now();
        let mut breaker = open_at(now);
        let mut later = now + seconds(1);
        let first = probe(&mut breaker, later);
        breaker.failed(9, Some(first), later);
        later += seconds(2);
        let second = probe(&mut breaker, later);
        breaker.unclear(second, later);
        let retry_after = seconds(1);
        assert_eq!(breaker.admit(later), Admission::Stopped { retry_after });
        probe(&mut breaker, later + seconds(1));
        assert!(breaker.succeeded() && !breaker.succeeded());
    }

    #[test]
    fn calls_that_began_before_it_opened_lengthen_nothing() {
        let now = Instant::now();
        let mut breaker = open_at(now);
        breaker.failed(7, None, now);
        let later = now + seconds(1);
        let awaited = probe(&mut breaker, later);
        breaker.failed(7, None, later);
        // The probe is awaited as before.
        breaker.withdraw(awaited, later);
        probe(&mut breaker, later);
    }

    #[test]
    fn a_probe_that_comes_late_ends_no_other() {
        let now = Instant::now();
        let mut breaker = open_at(now);
        let late = probe(&mut breaker, now + seconds(1));
        let now = now + seconds(21);
        let awaited = probe(&mut breaker, now);
        breaker.withdraw(late, now);
        breaker.unclear(late, now);
        breaker.failed(9, Some(late), now);
        assert!(matches!(breaker.admit(now), Admission::Stopped { .. }));
        breaker.withdraw(awaited, now);
        probe(&mut breaker, now);
    }
}
