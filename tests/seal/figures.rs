//! What a rotation costs others: how long their reads take, and how busy Redis is, before it and meanwhile.

use std::{
    fmt,
    time::{Duration, Instant},
};

use testkit::redis_server::RedisServer;

/// A span, and the time of the processor that Redis used in it.
pub struct Span<'a> {
    redis: &'a RedisServer,
    begun: Instant,
    cpu: f64,
}

/// A span that is over.
pub struct Passed {
    begun: Instant,
    ended: Instant,
    busy: f64,
}

impl<'a> Span<'a> {
    pub fn begin(redis: &'a RedisServer) -> Self {
        Self {
            redis,
            begun: Instant::now(),
            cpu: cpu(redis),
        }
    }

    pub fn end(self) -> Passed {
        let ended = Instant::now();
        let took = ended - self.begun;
        Passed {
            begun: self.begun,
            ended,
            busy: (cpu(self.redis) - self.cpu) / took.as_secs_f64(),
        }
    }
}

/// Returns the seconds of the processor that Redis has used.
fn cpu(redis: &RedisServer) -> f64 {
    let info: String = redis.ask(&["INFO", "cpu"]).unwrap();
    let of = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse().unwrap()
    };
    of("used_cpu_user:") + of("used_cpu_sys:")
}

impl Passed {
    pub fn seconds(&self) -> f64 {
        (self.ended - self.begun).as_secs_f64()
    }

    /// Returns what reads, each with its beginning, had of this span.
    pub fn reads(&self, reads: &[(Instant, Duration)]) -> Reads {
        let within = |begun: &Instant| (self.begun..self.ended).contains(begun);
        let took = reads.iter().filter(|(begun, _)| within(begun));
        let mut took: Vec<_> = took.map(|(_, took)| *took).collect();
        took.sort_unstable();
        let at = |percent: usize| {
            let last = took.len().saturating_sub(1);
            took.get(last * percent / 100).copied().unwrap_or_default()
        };
        Reads {
            count: took.len(),
            p50: at(50),
            p99: at(99),
            most: at(100),
            busy: self.busy,
        }
    }
}

/// How long reads took, and how busy Redis was.
pub struct Reads {
    pub count: usize,
    p50: Duration,
    p99: Duration,
    most: Duration,
    busy: f64,
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            p50,
            p99,
            most,
            busy,
        } = self;
        let busy = 100.0 * busy;
        write!(
            f,
            "{count} reads, p50 {p50:.1?}, p99 {p99:.1?}, at most {most:.1?}; Redis {busy:.0}% busy"
        )
    }
}
