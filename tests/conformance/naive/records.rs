//! The records, each beside its row. Who waits is woken by each attempt that ends.

use std::{
    future::Future,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use token_broker::{
    store::{Change, Decoded, Error, Records, RowChange, Seen, Stamp},
    types::{AttemptId, Lineage, RowKey, StoreTime, Version},
};

use super::{
    Flaw,
    state::{KeptRecord, State},
    store::NaiveStore,
};

/// Returns the version of a row: of none, of one that can't be read, or of one that can.
fn version(row: Option<&Decoded>) -> Option<Option<Version>> {
    row.map(|row| row.as_ref().ok().map(|stored| stored.version))
}

impl NaiveStore {
    /// Whether what was seen is still there.
    fn holds(&self, state: &State, name: &str, seen: &Seen) -> bool {
        let row = state.rows.get(name).map(|kept| &kept.decoded);
        let same_row = version(row) == version(seen.row.as_ref());
        let number = state.records.get(name).map_or(0, |kept| kept.number);
        let same_record = number == seen.stamp.record;
        (same_row || self.flaw() == Flaw::ChangesAnyRow)
            && (same_record || self.flaw() == Flaw::ChangesAnyRecord)
    }

    fn rewrite(&self, state: &mut State, name: &str, change: RowChange<'_>) {
        if let Some(kept) = state.rows.get_mut(name)
            && self.flaw() != Flaw::ChangesOnlyTheRecord
        {
            kept.decoded = Ok(change.stored.clone());
            if let Some(span) = change.keep_for {
                kept.dies = span.map(|span| Instant::now() + span);
            }
        }
    }
}

impl Records for NaiveStore {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        let mut state = self.data.state().await;
        let known = state.records.get(&self.flaw().row_key(key)).cloned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Ok(Seen {
            in_grace: false,
            row: self.read(&mut state, key),
            at: StoreTime::default().plus(now),
            lineage: Some(Lineage::default()),
            stamp: Stamp {
                record: known.as_ref().map_or(0, |kept| kept.number),
                ..Stamp::default()
            },
            record: known.map(|kept| kept.record).unwrap_or_default(),
        })
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        let name = self.flaw().row_key(key);
        let mut state = self.data.state().await;
        if change.row.is_some() && seen.stored().is_none() {
            return Err(Error::unavailable("there is no row to change"));
        }
        if !self.holds(&state, &name, seen) {
            return Ok(false);
        }
        state = self.data.gap(Flaw::ChangesInTwoSteps, state).await;
        if let Some(row) = change.row {
            self.rewrite(&mut state, &name, row);
        }
        let kept = KeptRecord::new(change.record.clone(), Stamp::drawn());
        state.records.insert(name, kept);
        if change.ends.is_some() {
            self.data.ended.notify_waiters();
        }
        Ok(true)
    }

    fn ended(&self, _: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        let ended = Arc::clone(&self.data.ended).notified_owned();
        let is_silent = self.flaw() == Flaw::KeepsEndsToItself;
        async move {
            match is_silent {
                true => std::future::pending().await,
                false => ended.await,
            }
        }
    }
}
