//! How far a migration is, for those who wait for it (contract section 5, M8).

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::report::Report;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Keys of the tenant that were looked at.
    pub scanned: u64,
    /// Pieces of older data that were changed, or would be.
    pub migrated: u64,
    /// Those that needed nothing done.
    pub skipped: u64,
    /// Those that can't be migrated.
    pub failed: u64,
    /// The part of the database that is done, 0 to 1.
    pub done: f64,
    /// How long it has taken.
    pub elapsed: Duration,
}

impl Snapshot {
    pub(super) fn count(&mut self, report: &Report) {
        let (rows, identities) = (&report.rows, &report.identities);
        self.migrated = rows.changed() + identities.changed();
        self.skipped = rows.skipped() + identities.skipped();
        self.failed = rows.failed + identities.failed;
    }

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

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys scanned, {} migrated, {} skipped, {} failed, {:.0} keys/s",
            self.scanned,
            self.migrated,
            self.skipped,
            self.failed,
            self.rate()
        )?;
        match self.left() {
            Some(left) => write!(f, ", {} s left", left.as_secs()),
            None => Ok(()),
        }
    }
}

/// Who is told.
pub trait Progress: Send + Sync {
    /// It is this far. Called many times a second.
    fn update(&self, now: &Snapshot);

    /// Another broker is at work, this one waits.
    fn waiting(&self) {}

    /// It is over.
    fn end(&self) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn update(&self, _: &Snapshot) {}
}

/// One line that is written over and over on a terminal; else a line in the log every few seconds.
pub fn on_stderr() -> Box<dyn Progress> {
    if io::stderr().is_terminal() {
        Box::new(Line(Throttle::new(Duration::from_millis(100))))
    } else {
        Box::new(Log(Throttle::new(Duration::from_secs(5))))
    }
}

struct Line(Throttle);

impl Progress for Line {
    fn update(&self, now: &Snapshot) {
        if self.0.is_due() {
            // The escape erases what an earlier, longer line left.
            write(format_args!("\r{now}\x1b[K"));
        }
    }

    fn waiting(&self) {
        write(format_args!(
            "\rwaiting for another broker that migrates\x1b[K"
        ));
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

impl Progress for Log {
    fn update(&self, now: &Snapshot) {
        if self.0.is_due() {
            tracing::info!(
                scanned = now.scanned,
                migrated = now.migrated,
                skipped = now.skipped,
                failed = now.failed,
                keys_per_second = now.rate().round(),
                seconds_left = now.left().map(|left| left.as_secs()),
                "migrating"
            );
        }
    }

    fn waiting(&self) {
        tracing::info!("waiting for another broker that migrates");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads() {
        let mut now = Snapshot {
            scanned: 30_000,
            migrated: 9_000,
            skipped: 3,
            failed: 1,
            done: 0.25,
            elapsed: Duration::from_secs(2),
        };
        assert_eq!(
            now.to_string(),
            "30000 keys scanned, 9000 migrated, 3 skipped, 1 failed, 15000 keys/s, 6 s left"
        );
        now.done = 0.0;
        assert!(now.to_string().ends_with("15000 keys/s"));
    }
}
