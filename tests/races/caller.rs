//! One of the many callers: what it calls, and what it records of each answer.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::linearizability::Condition;
use token_broker::proto::v1::{TokenEntry, token_broker_client::TokenBrokerClient};
use tonic::transport::Channel;

use crate::{
    notes::{Histories, Notes},
    rows::{Attempt, RowName, SESSIONS},
};

/// A task that makes calls.
pub(crate) struct Caller {
    pub(crate) client: TokenBrokerClient<Channel>,
    pub(crate) histories: Arc<Histories>,
    pub(crate) dice: StdRng,
    pub(crate) task: u32,
    pub(crate) attempts: u32,
    /// The version of each row that this task saw last.
    pub(crate) seen: BTreeMap<RowName, u64>,
    pub(crate) notes: Notes,
}

impl Caller {
    pub(crate) fn new(
        client: TokenBrokerClient<Channel>,
        histories: &Arc<Histories>,
        task: u32,
        seed: u64,
    ) -> Self {
        Self {
            client,
            histories: Arc::clone(histories),
            dice: StdRng::seed_from_u64(seed.wrapping_add(task.into())),
            task,
            attempts: 0,
            seen: BTreeMap::new(),
            notes: Notes::default(),
        }
    }

    /// Makes calls until `end`.
    pub(crate) async fn run(mut self, end: Instant) -> Notes {
        while Instant::now() < end {
            let row = self.row();
            match self.dice.random_range(0..100) {
                0..30 => drop(self.get(row).await),
                30..45 => drop(self.get_all(row.session).await),
                45..63 => self.store(row, Condition::Always, false).await,
                63..67 => self.store(row, Condition::Always, true).await,
                67..73 => self.store_if_absent(row).await,
                73..83 => self.store_if_version(row).await,
                83..90 => self.delete(row).await,
                90..95 => self.delete_version(row).await,
                95..98 => self.delete_session(row.session).await,
                _ => self.delete_user().await,
            }
        }
        self.finish()
    }

    /// Returns what the task recorded. The log holds the histories.
    pub(crate) fn finish(self) -> Notes {
        self.notes
    }

    fn row(&mut self) -> RowName {
        let session = self.dice.random_range(0..SESSIONS);
        let rows: Vec<_> = RowName::of_session(session).collect();
        rows[self.dice.random_range(0..rows.len())]
    }

    /// Records what was read.
    pub(crate) fn saw(&mut self, row: RowName, entry: &TokenEntry) {
        self.seen.insert(row, entry.version);
        match entry.tokens.as_ref().and_then(Attempt::of) {
            Some(attempt) => self.notes.is_content(entry.version, attempt),
            None => self
                .notes
                .torn
                .push(format!("{row:?} mixes the tokens of several attempts")),
        }
    }
}
