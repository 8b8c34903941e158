//! How far a migration is, for a person who waits for it (guarantees, section 5, M8).

use std::fmt;

use super::report::Report;
use crate::store::redis::maintenance::progress::{State, Walked};

pub use crate::store::redis::maintenance::progress::{Progress, Silent, on_stderr};

/// How far a migration is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MigrationProgress {
    /// How far it has walked through the keys.
    pub walked: Walked,
    /// How many pieces of older data were changed, or would be.
    pub migrated: u64,
    /// How many need no change.
    pub skipped: u64,
    /// How many can't be migrated.
    pub failed: u64,
}

impl MigrationProgress {
    pub(super) fn count(&mut self, report: &Report) {
        let (rows, identities) = (&report.rows, &report.identities);
        self.migrated = rows.changed() + identities.changed();
        self.skipped = rows.skipped() + identities.skipped();
        self.failed = rows.failed + identities.failed;
    }
}

impl fmt::Display for MigrationProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys scanned, {} migrated, {} skipped, {} failed, {}",
            self.walked.scanned, self.migrated, self.skipped, self.failed, self.walked
        )
    }
}

impl State for MigrationProgress {
    fn log(&self) {
        tracing::info!(
            scanned = self.walked.scanned,
            migrated = self.migrated,
            skipped = self.skipped,
            failed = self.failed,
            keys_per_second = self.walked.rate().round(),
            seconds_left = self.walked.left().map(|left| left.as_secs()),
            "migrating"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_person_reads() {
        let mut now = MigrationProgress {
            walked: Walked {
                scanned: 30_000,
                done: 0.25,
                elapsed: Duration::from_secs(2),
            },
            migrated: 9_000,
            skipped: 3,
            failed: 1,
        };
        assert_eq!(
            now.to_string(),
            "30000 keys scanned, 9000 migrated, 3 skipped, 1 failed, 15000 keys/s, 6 s left"
        );
        now.walked.done = 0.0;
        assert!(now.to_string().ends_with("15000 keys/s"));
    }
}
