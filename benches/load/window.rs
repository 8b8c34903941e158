//! The span in which a load is measured, and what was measured in it.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::process::{Process, Role};

/// A load runs a while before the span begins, so that connections and caches are warm.
const WARM_UP: Duration = Duration::from_millis(100);

/// The figures of one load on one server.
#[derive(Debug)]
pub(crate) struct Sample {
    /// How long each call took, shortest first.
    latencies: Vec<Duration>,
    span: Duration,
    /// The CPU time of each process per call, in µs.
    pub(crate) cpu: Vec<(Role, f64)>,
    /// For how long threads of each process were ready to run and had no core, per call, in µs.
    pub(crate) waits: Vec<(Role, f64)>,
    /// The peak memory of each process, in MiB.
    pub(crate) peak: Vec<(Role, f64)>,
}

impl Sample {
    pub(crate) fn calls_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.span.as_secs_f64()
    }

    /// Returns which part of all cores the processes have used, in percent.
    pub(crate) fn busy(&self) -> f64 {
        let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
        let used: f64 = self.cpu.iter().map(|(_, per_call)| per_call).sum();
        used * 1e-6 * self.calls_per_second() / cores * 100.0
    }

    /// Returns the latency that this many of a thousand calls don't exceed.
    pub(crate) fn quantile(&self, of_a_thousand: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * of_a_thousand / 1000]
    }
}

/// What each of the processes has used so far: CPU time, and time without a core.
struct Used {
    cpu: Vec<Duration>,
    waits: Vec<Duration>,
}

/// The span, while it is to come, goes on or is over.
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    watched: Vec<Process>,
    before: Option<Used>,
    after: Option<Used>,
    latencies: Vec<Duration>,
}

impl Window {
    /// Returns a window of this length, which begins soon.
    pub(crate) fn soon(span: Duration, watched: &[Process]) -> Self {
        let from = Instant::now() + WARM_UP.min(span);
        Self {
            from,
            to: from + span,
            watched: watched.to_vec(),
            before: None,
            after: None,
            latencies: Vec::with_capacity(64 * 1024),
        }
    }

    /// Notes what the processes have used, at the beginning and at the end. Returns whether the span is over.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        if self.before.is_none() && now >= self.from {
            for process in &self.watched {
                process.forget_peak();
            }
            self.before = Some(self.used());
        }
        if self.after.is_none() && now >= self.to {
            // A short span on a busy machine may have no call at all. It goes on until it has one.
            if self.latencies.is_empty() {
                self.to = now + (self.to - self.from);
                return false;
            }
            self.after = Some(self.used());
        }
        self.after.is_some()
    }

    /// Counts a call if it ended within the span.
    pub(crate) fn count_ended(&mut self, begun: Instant, ended: Instant) {
        if self.from <= ended && ended < self.to {
            self.latencies.push(ended - begun);
        }
    }

    /// Counts a call if it was to begin within the span, whenever it ended.
    pub(crate) fn count_begun(&mut self, begun: Instant, ended: Instant) {
        if self.from <= begun && begun < self.to {
            self.latencies.push(ended.saturating_duration_since(begun));
        }
    }

    pub(crate) fn close(mut self) -> Sample {
        assert!(!self.latencies.is_empty());
        let (before, after) = (self.before.unwrap(), self.after.unwrap());
        let calls = self.latencies.len() as f64;
        let roles = self.watched.iter().map(|process| process.role);
        let per_call = |before: Vec<Duration>, after: Vec<Duration>| {
            let spans = before.into_iter().zip(after);
            // A thread that has ended takes what it used with it.
            let spans = spans.map(|(before, after)| after.saturating_sub(before));
            let of_a_call = spans.map(|span| span.as_secs_f64() * 1e6 / calls);
            roles.clone().zip(of_a_call).collect()
        };
        let cpu = per_call(before.cpu, after.cpu);
        let waits = per_call(before.waits, after.waits);
        self.latencies.sort_unstable();
        Sample {
            latencies: self.latencies,
            span: self.to - self.from,
            cpu,
            waits,
            peak: self.watched.iter().map(|p| (p.role, p.peak())).collect(),
        }
    }

    fn used(&self) -> Used {
        let of = |used: fn(Process) -> Duration| self.watched.iter().copied().map(used).collect();
        Used {
            cpu: of(Process::cpu),
            waits: of(Process::waits),
        }
    }
}
