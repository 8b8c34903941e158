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
    let info: String = redis::cmd("INFO")
        .arg("cpu")
        .query(&mut redis.raw())
        .unwrap();
    let of = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse().unwrap()
    };
    of("used_cpu_user:") + of("used_cpu_sys:")
}

impl Passed {
    /// Returns which part of the span Redis was busy, by the time of the processor that it used.
    pub fn busy(&self) -> f64 {
        self.busy
    }

    pub fn seconds(&self) -> f64 {
        (self.ended - self.begun).as_secs_f64()
    }

    /// Returns how long the calls of this span took.
    pub fn calls(&self, calls: &[(Instant, Duration)]) -> Calls {
        let within = |begun: &Instant| (self.begun..self.ended).contains(begun);
        let took = calls.iter().filter(|(begun, _)| within(begun));
        let mut took: Vec<_> = took.map(|(_, took)| *took).collect();
        took.sort_unstable();
        let at = |percent: usize| {
            let last = took.len().saturating_sub(1);
            took.get(last * percent / 100).copied().unwrap_or_default()
        };
        Calls {
            count: took.len(),
            p50: at(50),
            p99: at(99),
            most: at(100),
        }
    }
}

/// How long calls took.
pub struct Calls {
    count: usize,
    p50: Duration,
    p99: Duration,
    most: Duration,
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            p50,
            p99,
            most,
        } = self;
        write!(
            f,
            "{count} calls, p50 {p50:.1?}, p99 {p99:.1?}, at most {most:.1?}"
        )
    }
}
