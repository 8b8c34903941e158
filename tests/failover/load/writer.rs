//! The only writer of a user's rows. It makes one write after another, then moves on to the next
//! user.

use std::sync::{Arc, atomic::Ordering};

use rand::{RngExt, rngs::StdRng, seq::IteratorRandom};
use token_broker::proto::v1::{
    DeleteRequest, DeleteUserRequest, StoreRequest, delete_request::Target,
};

use super::{Shared, WRITERS, call::PlannedCall};
use crate::rows::{RowName, SESSIONS};

/// The average number of writes before a writer moves on to the next user.
const WRITES: u32 = 24;

/// Writes until the load ends.
pub(super) async fn run(shared: Arc<Shared>, writer: u32) {
    let mut dice = super::dice();
    let done = &shared.done[writer as usize];
    while shared.goes_on(&mut dice).await {
        let user = writer + WRITERS * done.load(Ordering::Relaxed);
        let broker = dice.random_range(0..shared.clients.len());
        match dice.random_range(0..100) {
            0..78 => store(&shared, broker, one_of(user, &mut dice)).await,
            78..90 => delete(&shared, broker, one_of(user, &mut dice)).await,
            90..95 => delete_session(&shared, broker, user, dice.random_range(0..SESSIONS)).await,
            _ => delete_user(&shared, broker, user).await,
        }
        if dice.random_range(0..WRITES) == 0 {
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn one_of(user: u32, dice: &mut StdRng) -> RowName {
    RowName::of_user(user).choose(dice).unwrap()
}

async fn store(shared: &Shared, broker: usize, row: RowName) {
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    let request = StoreRequest {
        session_id: shared.round.session(row),
        provider: row.provider().to_owned(),
        tokens: Some(shared.round.tokens(row, number)),
        ..StoreRequest::default()
    };
    let planned = PlannedCall {
        name: "Store",
        broker,
        writes: vec![(row, Some(number))],
    };
    let mut client = shared.client(broker);
    let send = async |request| client.store(request).await;
    planned.call(shared, request, send, |_| Vec::new()).await;
}

async fn delete(shared: &Shared, broker: usize, row: RowName) {
    let target = Target::Provider(row.provider().to_owned());
    delete_rows(shared, broker, "Delete", target, vec![row]).await;
}

async fn delete_session(shared: &Shared, broker: usize, user: u32, session: u8) {
    let rows = RowName::of_session(user, session).collect();
    let target = Target::AllProviders(true);
    delete_rows(shared, broker, "Delete all", target, rows).await;
}

async fn delete_rows(
    shared: &Shared,
    broker: usize,
    name: &'static str,
    target: Target,
    rows: Vec<RowName>,
) {
    let request = DeleteRequest {
        session_id: shared.round.session(rows[0]),
        target: Some(target),
        ..DeleteRequest::default()
    };
    let planned = PlannedCall {
        name,
        broker,
        writes: rows.into_iter().map(|row| (row, None)).collect(),
    };
    let mut client = shared.client(broker);
    let send = async |request| client.delete(request).await;
    planned.call(shared, request, send, |_| Vec::new()).await;
}

async fn delete_user(shared: &Shared, broker: usize, user: u32) {
    let request = DeleteUserRequest {
        user_id: shared.round.user(user),
    };
    let planned = PlannedCall {
        name: "DeleteUser",
        broker,
        writes: RowName::of_user(user).map(|row| (row, None)).collect(),
    };
    let mut client = shared.client(broker);
    let send = async |request| client.delete_user(request).await;
    planned.call(shared, request, send, |_| Vec::new()).await;
}
