//! How far a walk over all keys is, for the operator who waits for it: on a terminal, or in the log.

use std::{
    fmt,
    io::{self, IsTerminal},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{stderr, types::lock};

/// How far some work is. The operator reads it as one line.
pub trait State: fmt::Display {
    /// Writes the state to the log.
    fn log(&self);
}

/// How far a walk over the keys is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Walked {
    /// How many keys of the tenant were looked at.
    pub scanned: u64,
    /// Which part of the database is done, 0 to 1.
    pub done: f64,
    /// How long the walk has taken.
    pub elapsed: Duration,
}

impl Walked {
    /// Returns how many keys a second are looked at.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let scanned = self.scanned as f64;
        scanned / self.elapsed.as_secs_f64().max(0.001)
    }

    /// Estimates how long the rest takes at the pace so far. Returns `None` at the very beginning.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let done = self.done.clamp(0.0, 1.0);
        (done > 0.001)
            .then(|| Duration::from_secs_f64(self.elapsed.as_secs_f64() * (1.0 - done) / done))
    }
}

/// Writes the rate, and the time left once it can be estimated.
impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} keys/s", self.rate())?;
        match self.left() {
            Some(left) => write!(f, ", {} s left", left.as_secs()),
            None => Ok(()),
        }
    }
}

/// A listener that is told how far some work is.
pub trait Progress<S>: Send + Sync {
    /// Takes the present state. Called many times a second.
    fn update(&self, now: &S);

    /// Takes a text that says what this broker waits for.
    fn waiting(&self, _text: &str) {}

    /// Takes note that the work is over.
    fn end(&self) {}
}

/// A listener that shows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl<S> Progress<S> for Silent {
    fn update(&self, _: &S) {}
}

/// Returns a listener that rewrites one line if stderr is a terminal, or else writes to the log every few
/// seconds.
#[must_use]
pub fn on_stderr<S: State>() -> Box<dyn Progress<S>> {
    if io::stderr().is_terminal() {
        Box::new(TerminalLine(Throttle::new(Duration::from_millis(100))))
    } else {
        Box::new(Log(Throttle::new(Duration::from_secs(5))))
    }
}

struct TerminalLine(Throttle);

impl<S: State> Progress<S> for TerminalLine {
    fn update(&self, now: &S) {
        if self.0.passes() {
            // The escape sequence erases the rest of an earlier, longer line.
            stderr::print(&format!("\r{now}\x1b[K"));
        }
    }

    fn waiting(&self, text: &str) {
        stderr::print(&format!("\r{text}\x1b[K"));
    }

    fn end(&self) {
        stderr::print("\r\x1b[K");
        // A report may follow on stdout.
        stderr::written(Duration::from_millis(100));
    }
}

struct Log(Throttle);

impl<S: State> Progress<S> for Log {
    fn update(&self, now: &S) {
        if self.0.passes() {
            now.log();
        }
    }

    fn waiting(&self, text: &str) {
        tracing::info!("{text}");
    }
}

/// Says when the next line is due: the first time after `every`, and then each time that `every` has passed.
struct Throttle {
    every: Duration,
    last: Mutex<Instant>,
}

impl Throttle {
    fn new(every: Duration) -> Self {
        let last = Mutex::new(Instant::now());
        Self { every, last }
    }

    /// Returns whether a line may be logged now. Then the next one is due later.
    fn passes(&self) -> bool {
        let mut last = lock(&self.last);
        let due = last.elapsed() >= self.every;
        if due {
            *last = Instant::now();
        }
        due
    }
}
