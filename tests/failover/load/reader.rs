//! A reader that uses one broker, and reads single rows or whole sessions. It mostly reads rows
//! that are being written, or were written recently.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rand::{RngExt, rngs::StdRng, seq::IteratorRandom};
use testkit::requests::get_request;
use token_broker::proto::v1::{GetAllRequest, GetAllResponse, GetResponse};

use super::{PAIRS, Shared, call::PlannedCall};
use crate::rows::{self, RowName};

/// Reads until the load ends.
pub(super) async fn run(shared: Arc<Shared>, broker: usize, deadline: Duration) {
    let mut dice = super::dice();
    while shared.goes_on(&mut dice).await {
        let row = some_row(&shared, &mut dice);
        if dice.random_range(0..4) == 0 {
            get_all(&shared, broker, row, deadline).await;
        } else {
            get(&shared, broker, row, deadline).await;
        }
    }
}

fn some_row(shared: &Shared, dice: &mut StdRng) -> RowName {
    let pair = dice.random_range(0..PAIRS);
    let done = shared.done[pair as usize].load(Ordering::Relaxed);
    let back = if dice.random_range(0..4) == 0 {
        done
    } else {
        done.min(1)
    };
    let user = pair + PAIRS * (done - dice.random_range(0..=back));
    RowName::of_user(user).choose(dice).unwrap()
}

/// Reads a row.
pub(super) async fn get(shared: &Shared, broker: usize, row: RowName, deadline: Duration) {
    let request = get_request(&shared.round.session(row), row.provider());
    let mut client = shared.client(broker);
    let send = async |request| client.get(request).await;
    let shown = |answer: Option<GetResponse>| {
        let entry = answer.map(|answer| answer.entry.unwrap());
        let shown = entry.as_ref().map(rows::shown);
        vec![(row, shown.unwrap_or_default())]
    };
    planned("Get", broker, deadline)
        .call(shared, request, send, shown)
        .await;
}

/// Reads all rows of this row's session.
async fn get_all(shared: &Shared, broker: usize, row: RowName, deadline: Duration) {
    let request = GetAllRequest {
        session_id: shared.round.session(row),
        ..GetAllRequest::default()
    };
    let mut client = shared.client(broker);
    let send = async |request| client.get_all(request).await;
    let shown = |answer: Option<GetAllResponse>| {
        let answer = answer.unwrap();
        assert!(answer.unreadable.is_empty(), "{:?}", answer.unreadable);
        let rows = RowName::of_session(row.user, row.session);
        let shown = rows.map(|row| {
            let entry = answer.entries.get(row.provider());
            (row, entry.map(rows::shown).unwrap_or_default())
        });
        shown.collect()
    };
    planned("GetAll", broker, deadline)
        .call(shared, request, send, shown)
        .await;
}

fn planned(name: &'static str, broker: usize, deadline: Duration) -> PlannedCall {
    PlannedCall {
        name,
        broker,
        deadline,
        writes: Vec::new(),
    }
}
