//! What to measure, and for how long: from the command line and the environment.

use std::{env, path::PathBuf, time::Duration};

use crate::{requests::Method, servers::Subject};

/// A word on the command line that names something to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// So many callers, each with one call at a time, over so many connections: `64x4`.
    Closed { callers: usize, connections: usize },
    /// This part of the highest rate of the closed loop, over four connections: `50%`.
    Open { percent: u32 },
    /// So many calls begin each second, over four connections: `20000/s`.
    Rate { calls_per_second: u32 },
}

/// The callers and connections whose rate counts as the peak, unless the sizes say otherwise.
const PEAK: (usize, usize) = (64, 4);

/// What to measure besides the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    DeleteUser,
    Growth,
    Footprint,
    Start,
    Migration,
    Trust,
}

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// The callers and connections whose rate counts as the peak.
    pub(crate) peak: (usize, usize),
    /// The sessions that calls are about, each with a row for each provider.
    pub(crate) sessions: u32,
    /// The rows of the user that is deleted.
    pub(crate) rows_of_a_user: u32,
    /// How many sessions the stores have, for `growth`.
    pub(crate) growth: Vec<u32>,
    /// Idle connections, and the sessions in memory, for `footprint`.
    pub(crate) footprint: (usize, u32),
    /// The rows that are migrated.
    pub(crate) migration: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            peak: PEAK,
            sessions: 1_000,
            rows_of_a_user: 10_000,
            growth: vec![125, 1_250, 12_500, 125_000],
            footprint: (1_000, 125_000),
            migration: 100_000,
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The subjects besides the echo, which is always measured.
    pub(crate) subjects: Vec<Subject>,
    pub(crate) methods: Vec<Method>,
    pub(crate) loads: Vec<Load>,
    pub(crate) extras: Vec<Extra>,
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
    pub(crate) json: Option<PathBuf>,
    pub(crate) broker_args: Vec<String>,
    pub(crate) sizes: Sizes,
    /// Whether `replicated` was named. Otherwise only its writes are measured, because its reads are those of `redis`.
    pub(crate) is_named: bool,
}

impl Options {
    /// Returns what the command line and the environment say.
    pub(crate) fn from_env() -> Self {
        let number = |name| env::var(name).ok().map(|text| text.parse::<f64>().unwrap());
        let mut options = Self::parse(env::args().skip(1));
        options.rounds = number("LOAD_ROUNDS").unwrap_or(5.0) as usize;
        options.span = Duration::from_secs_f64(number("LOAD_SECONDS").unwrap_or(1.0));
        options
    }

    /// Returns what these arguments say.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            subjects: Vec::new(),
            methods: Vec::new(),
            loads: Vec::new(),
            extras: Vec::new(),
            rounds: 1,
            span: Duration::ZERO,
            json: None,
            broker_args: Vec::new(),
            sizes: Sizes::default(),
            is_named: true,
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // Cargo adds this argument.
                "--bench" => {}
                "--json" => options.json = Some(args.next().expect("--json FILE").into()),
                flag if flag.starts_with("--json=") => {
                    options.json = Some(flag["--json=".len()..].into());
                }
                flag if flag.starts_with("--") => options.broker_args.push(arg),
                word => assert!(
                    options.take(word),
                    "{word} is neither something to measure nor a flag of the broker"
                ),
            }
        }
        options.complete();
        options
    }

    /// Adds what the word names. Returns `false` if it names nothing.
    fn take(&mut self, word: &str) -> bool {
        if let Some(subject) = Subject::ALL.into_iter().find(|s| s.word() == word) {
            self.subjects.push(subject);
        } else if let Some(method) = Method::ALL.into_iter().find(|m| m.word() == word) {
            self.methods.push(method);
        } else if let Some(load) = Load::parse(word) {
            self.loads.push(load);
        } else if let Some(extra) = Extra::parse(word) {
            self.extras.push(extra);
        } else {
            return false;
        }
        true
    }

    /// Adds what isn't named and is measured by default.
    fn complete(&mut self) {
        let nothing = self.methods.is_empty() && self.loads.is_empty();
        if nothing && self.extras.is_empty() {
            self.extras = vec![Extra::DeleteUser];
            self.methods = Method::ALL.into();
        }
        if self.methods.is_empty() && !self.loads.is_empty() {
            self.methods = Method::ALL.into();
        }
        if self.loads.is_empty() {
            let closed = [(1, 1), (64, 1), (64, 2), PEAK, (64, 64)];
            let closed = closed.map(|(callers, connections)| Load::Closed {
                callers,
                connections,
            });
            let open = [50, 80].map(|percent| Load::Open { percent });
            self.loads = closed.into_iter().chain(open).collect();
        }
        self.is_named = self.subjects.contains(&Subject::Replicated);
        if self.subjects.is_empty() {
            self.subjects = Subject::ALL.into();
        }
        self.subjects.push(Subject::Echo);
        self.subjects.sort_unstable();
        self.subjects.dedup();
    }
}

impl Load {
    fn parse(word: &str) -> Option<Self> {
        if let Some(percent) = word.strip_suffix('%') {
            return percent.parse().ok().map(|percent| Self::Open { percent });
        }
        if let Some(rate) = word.strip_suffix("/s") {
            let calls_per_second = rate.parse().ok().filter(|rate| *rate > 0)?;
            return Some(Self::Rate { calls_per_second });
        }
        let (callers, connections) = word.split_once('x')?;
        Some(Self::Closed {
            callers: callers.parse().ok()?,
            connections: connections.parse().ok()?,
        })
    }
}

impl Extra {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "delete-user" => Some(Self::DeleteUser),
            "growth" => Some(Self::Growth),
            "footprint" => Some(Self::Footprint),
            "start" => Some(Self::Start),
            "migration" => Some(Self::Migration),
            "trust" => Some(Self::Trust),
            _ => None,
        }
    }
}
