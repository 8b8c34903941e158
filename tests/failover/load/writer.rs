//! One of the two writers of a user's rows. It makes one write after another, then moves on to the next user, and the
//! other writer with it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rand::{RngExt, rngs::StdRng, seq::IteratorRandom};
use token_broker::proto::v1::{
    DeleteRequest, DeleteUserRequest, StoreRequest, delete_request::Target,
};

use super::{PAIRS, Shared, call::PlannedCall};
use crate::{
    history::Value,
    rows::{self, RowName, SESSIONS},
};

/// The average number of writes before a writer moves on to the next user.
const WRITES: u32 = 24;

/// Writes until the load ends.
pub(super) async fn run(shared: Arc<Shared>, pair: u32, deadline: Duration) {
    let mut dice = super::dice();
    let done = &shared.done[pair as usize];
    while shared.goes_on(&mut dice).await {
        let writer = Writer {
            shared: &shared,
            user: pair + PAIRS * done.load(Ordering::Relaxed),
            broker: dice.random_range(0..shared.clients.len()),
            deadline,
        };
        match dice.random_range(0..100) {
            0..48 => writer.store(false, &mut dice).await,
            48..78 => writer.store(true, &mut dice).await,
            78..90 => writer.delete(&mut dice).await,
            90..95 => writer.delete_session(dice.random_range(0..SESSIONS)).await,
            _ => writer.delete_user().await,
        }
        if dice.random_range(0..WRITES) == 0 {
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a writer writes next: whose rows, and through which broker.
struct Writer<'a> {
    shared: &'a Shared,
    user: u32,
    broker: usize,
    deadline: Duration,
}

impl Writer<'_> {
    fn one_row(&self, dice: &mut StdRng) -> RowName {
        RowName::of_user(self.user).choose(dice).unwrap()
    }

    fn planned(&self, name: &'static str, writes: Vec<(RowName, Value)>) -> PlannedCall {
        PlannedCall {
            name,
            broker: self.broker,
            deadline: self.deadline,
            writes,
        }
    }

    async fn store(&self, carries: bool, dice: &mut StdRng) {
        let row = self.one_row(dice);
        let number = 2 * self.shared.numbers.fetch_add(1, Ordering::Relaxed) + u64::from(!carries);
        assert_eq!(carries, rows::carries(number));
        let request = StoreRequest {
            session_id: self.shared.round.session(row),
            provider: row.provider().to_owned(),
            tokens: Some(self.shared.round.tokens(row, number)),
            carry_forward_refresh_token: carries,
            ..StoreRequest::default()
        };
        let name = if carries { "Store, carrying" } else { "Store" };
        let planned = self.planned(name, vec![(row, Some(number))]);
        let mut client = self.shared.client(self.broker);
        let send = async |request| client.store(request).await;
        planned
            .call(self.shared, request, send, |_| Vec::new())
            .await;
    }

    async fn delete(&self, dice: &mut StdRng) {
        let row = self.one_row(dice);
        let target = Target::Provider(row.provider().to_owned());
        self.delete_rows("Delete", target, vec![row]).await;
    }

    async fn delete_session(&self, session: u8) {
        let rows = RowName::of_session(self.user, session).collect();
        let target = Target::AllProviders(true);
        self.delete_rows("Delete all", target, rows).await;
    }

    async fn delete_rows(&self, name: &'static str, target: Target, rows: Vec<RowName>) {
        let request = DeleteRequest {
            session_id: self.shared.round.session(rows[0]),
            target: Some(target),
            ..DeleteRequest::default()
        };
        let planned = self.planned(name, rows.into_iter().map(|row| (row, None)).collect());
        let mut client = self.shared.client(self.broker);
        let send = async |request| client.delete(request).await;
        planned
            .call(self.shared, request, send, |_| Vec::new())
            .await;
    }

    async fn delete_user(&self) {
        let request = DeleteUserRequest {
            user_id: self.shared.round.user(self.user),
        };
        let writes = RowName::of_user(self.user).map(|row| (row, None)).collect();
        let planned = self.planned("DeleteUser", writes);
        let mut client = self.shared.client(self.broker);
        let send = async |request| client.delete_user(request).await;
        planned
            .call(self.shared, request, send, |_| Vec::new())
            .await;
    }
}
