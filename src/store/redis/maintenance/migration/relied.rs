//! What a running broker relies on: the record of the migration that it last saw. Redis may lose it, because it comes
//! back empty, from an older backup, or with less after a failover. A running broker notices that (guarantees, section
//! 5, M7).

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Migration,
    completed::{CompletedMigration, Remembered},
};
use crate::types::lock;

/// How long to wait between two looks. Each pause is up to a quarter shorter, so that brokers don't look all at once.
const PAUSE: Duration = Duration::from_millis(500);

impl Migration {
    /// Returns as soon as Redis no longer holds what this broker relies on. Then [`Migration::ensure_migrated`] has to
    /// be called again, and meanwhile nothing may be served. It restores what was in force. A look costs one read, twice
    /// a second.
    pub async fn lost(&self) {
        loop {
            sleep(PAUSE.mul_f64(rand::random_range(0.75..1.0))).await;
            // While Redis can't be asked, nothing is served either.
            let Ok(remembered) = Remembered::read(&self.link, &self.keys).await else {
                continue;
            };
            if !remembered.upholds(self.relied().as_ref()) {
                let what = match (&remembered.record, remembered.lacks_mark()) {
                    (None, _) => "is gone",
                    (Some(_), true) => "lacks the mark of the grace period",
                    (Some(_), false) => "is an earlier one",
                };
                tracing::warn!(
                    "the record of the migration {what}: Redis came back empty or from a backup, or lost writes; \
                     migrating again, and calls are refused meanwhile"
                );
                return;
            }
            self.rely_on(remembered.record);
        }
    }

    /// Returns what this broker relies on. `None` before it has migrated, or if it serves although something can't be
    /// migrated.
    pub(super) fn relied(&self) -> Option<CompletedMigration> {
        lock(&self.relied).clone()
    }

    /// Relies on this record from now on.
    pub(super) fn rely_on(&self, record: Option<CompletedMigration>) {
        if let Some(record) = &record {
            self.store.note_older_layout(record.mapping.clone());
        }
        let mut relied = lock(&self.relied);
        *relied = record;
    }
}
