//! How far a walk over all keys is, for those who wait for it: a terminal, or the log.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How far a piece of work is: what a person reads as one line.
pub trait State: fmt::Display {
    /// Writes it to the log.
    fn log(&self);
}

/// How far a walk over the keys is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Walked {
    /// Keys of the tenant that were looked at.
    pub scanned: u64,
    /// The part of the database that is done, 0 to 1.
    pub done: f64,
    /// How long it has taken.
    pub elapsed: Duration,
}

impl Walked {
    /// Keys looked at a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let scanned = self.scanned as f64;
        scanned / self.elapsed.as_secs_f64().max(0.001)
    }

    /// How long it will take, at the pace so far; `None` at the very beginning.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let done = self.done.clamp(0.0, 1.0);
        (done > 0.001)
            .then(|| Duration::from_secs_f64(self.elapsed.as_secs_f64() * (1.0 - done) / done))
    }
}

/// The rate, and the time left where it is known.
impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} keys/s", self.rate())?;
        match self.left() {
            Some(left) => write!(f, ", {} s left", left.as_secs()),
            None => Ok(()),
        }
    }
}

/// Who is told.
pub trait Progress<S>: Send + Sync {
    /// It is this far. Called many times a second.
    fn update(&self, now: &S);

    /// Another broker is at work, this one waits, in these words.
    fn waiting(&self, _words: &str) {}

    /// It is over.
    fn end(&self) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl<S> Progress<S> for Silent {
    fn update(&self, _: &S) {}
}

/// One line that is written over and over on a terminal; else a line in the log every few seconds.
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
        if self.0.is_due() {
            // The escape erases what an earlier, longer line left.
            write(format_args!("\r{now}\x1b[K"));
        }
    }

    fn waiting(&self, words: &str) {
        write(format_args!("\r{words}\x1b[K"));
    }

    fn end(&self) {
        write(format_args!("\r\x1b[K"));
    }
}

fn write(text: fmt::Arguments<'_>) {
    // A terminal that is gone is no reason to stop.
    _ = io::stderr()
        .write_fmt(text)
        .and_then(|()| io::stderr().flush());
}

struct Log(Throttle);

impl<S: State> Progress<S> for Log {
    fn update(&self, now: &S) {
        if self.0.is_due() {
            now.log();
        }
    }

    fn waiting(&self, words: &str) {
        tracing::info!("{words}");
    }
}

/// Lets one through every while, the first after a while.
struct Throttle {
    every: Duration,
    last: Mutex<Instant>,
}

impl Throttle {
    fn new(every: Duration) -> Self {
        let last = Mutex::new(Instant::now());
        Self { every, last }
    }

    fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.elapsed() >= self.every;
        if due {
            *last = Instant::now();
        }
        due
    }
}
