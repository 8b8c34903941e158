//! Tests the invariants (guarantees, section 3.2) under concurrency: hundreds of tasks call through
//! two brokers.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use testkit::{broker::Broker, rows::*};
use token_broker::{
    store::{Identities, Store},
    types::{RowKey, Version},
};
use tokio::task::{JoinSet, yield_now};

use crate::{backend::Backend, dice::Dice};

const USERS: [&str; 2] = ["alice", "bob"];

fn two_brokers<B: Backend>(backend: &B) -> [Broker<B::Store>; 2] {
    [backend.broker(), backend.broker()]
}

/// A reader who can read a row also finds it by session and by user, from the first moment on.
pub async fn i1_a_row_is_in_its_indexes_when_it_can_be_read<B: Backend>(backend: B) {
    let [writer, reader] = two_brokers(&backend);
    for round in 0..60 {
        let key = key(&format!("s{round}"), "p");
        let (writer, written) = (writer.clone(), key.clone());
        let writing = tokio::spawn(async move { writer.put(&written, &row("u", "at")).await });
        while reader.read(&key).await.is_none() {
            yield_now().await;
        }
        let in_session = reader.rows_of(&key.session).await;
        assert!(
            in_session.contains_key(&key.provider),
            "I1: readable, not in its session"
        );
        let listed = reader.listed(&user("u")).await;
        assert!(listed.contains(&key), "I1: readable, not at its user");
        writing.await.unwrap();
    }
}

/// This holds until the last moment: a row that the session or the user no longer shows can't be
/// read either.
pub async fn i1_a_row_is_in_its_indexes_until_it_is_gone<B: Backend>(backend: B) {
    let [writer, reader] = two_brokers(&backend);
    for round in 0..60 {
        let key = key(&format!("s{round}"), "p");
        writer.put(&key, &row("u", "at")).await;
        let (writer, deleted) = (writer.clone(), key.clone());
        let deleting = tokio::spawn(async move { writer.remove(&deleted).await });
        loop {
            let in_session = reader
                .rows_of(&key.session)
                .await
                .contains_key(&key.provider);
            let listed = reader.listed(&user("u")).await.contains(&key);
            if !in_session || !listed {
                break;
            }
            yield_now().await;
        }
        assert_eq!(
            reader.read(&key).await,
            None,
            "I1: not in its indexes, and readable"
        );
        assert!(deleting.await.unwrap());
    }
}

/// `Store`, `Delete` of every kind and `DeleteUser` race on the same few rows. Afterwards each row
/// is complete, in its session and at its user, or gone from all three.
pub async fn i2_delete_racing_store_leaves_a_row_whole_or_gone<B: Backend>(backend: B) {
    let brokers = two_brokers(&backend);
    let mut dice = Dice::new();
    let keys = [key("s", "p"), key("s", "q"), key("t", "p")];
    for _ in 0..12 {
        let mut tasks = JoinSet::new();
        for number in 0..200 {
            let (broker, key) = (brokers[number % 2].clone(), dice.pick(&keys).clone());
            let mut dice = dice.fork();
            tasks.spawn(async move { change(&broker, &key, &mut dice).await });
        }
        tasks.join_all().await;
        for key in &keys {
            whole_or_gone(&brokers[0], key).await;
        }
        backend.audit();
    }
}

async fn change<S: Store + Identities>(broker: &Broker<S>, key: &RowKey, dice: &mut Dice) {
    let name = *dice.pick(&USERS);
    match dice.in_range(0..10) {
        0..5 => _ = broker.put(key, &row(name, "at")).await,
        5..7 => _ = broker.remove(key).await,
        7 => _ = broker.delete(key, broker.version(key).await).await,
        8 => _ = broker.delete_all(&key.session).await.unwrap(),
        _ => _ = broker.delete_user(&user(name)).await.unwrap(),
    }
}

async fn whole_or_gone<S: Store + Identities>(broker: &Broker<S>, key: &RowKey) {
    let stored = broker.read(key).await;
    let in_session = broker.rows_of(&key.session).await.remove(&key.provider);
    assert_eq!(
        in_session, stored,
        "I2: Get finds what GetAll doesn't, or the other way round"
    );
    for name in USERS {
        let listed = broker.listed(&user(name)).await.contains(key);
        let owner = stored
            .as_ref()
            .and_then(|stored| stored.row.user_id.as_ref());
        assert_eq!(listed, owner == Some(&user(name)), "I2: {name}'s listing");
    }
}

/// Rows are stored, deleted and moved between users while `DeleteUser` runs. No row that the user
/// had before the call is readable after it.
pub async fn i3_delete_user_racing_stores_leaves_no_older_row<B: Backend>(backend: B) {
    let [broker, other] = two_brokers(&backend);
    let mut dice = Dice::new();
    let mut nth = |number: usize| key(&format!("s{}", number / 2), &format!("p{}", number % 2));
    let keys: Arc<Vec<_>> = Arc::new((0..300).map(&mut nth).collect());
    for key in keys.iter() {
        broker.put(key, &row("u", "old")).await;
    }

    // The versions of the user's rows that were stored before the call began.
    let older = Arc::new(Mutex::new(BTreeSet::new()));
    let [called, returned] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let mut churn = JoinSet::new();
    for _ in 0..100 {
        let (other, keys, mut dice) = (other.clone(), Arc::clone(&keys), dice.fork());
        let (called, returned) = (Arc::clone(&called), Arc::clone(&returned));
        let older = Arc::clone(&older);
        churn.spawn(async move {
            while !returned.load(Ordering::SeqCst) {
                let key = dice.pick(&keys);
                let owner = if dice.once_in(3) { "v" } else { "u" };
                let version = other.put(key, &row(owner, "churned")).await;
                if owner == "u" && !called.load(Ordering::SeqCst) {
                    older.lock().unwrap().insert(version.number());
                }
                if dice.once_in(10) {
                    other.remove(key).await;
                }
                yield_now().await;
            }
        });
    }
    while older.lock().unwrap().len() < 100 {
        yield_now().await;
    }
    called.store(true, Ordering::SeqCst);
    broker.delete_user(&user("u")).await.unwrap();
    let mut found = Vec::new();
    for key in keys.iter() {
        found.extend(broker.read(key).await);
    }
    returned.store(true, Ordering::SeqCst);
    churn.join_all().await;

    let older = older.lock().unwrap();
    for stored in found {
        let is_older = |version: Version| older.contains(&version.number());
        assert_ne!(
            access_token(&stored.row),
            "old",
            "I3: a row from before DeleteUser"
        );
        assert!(
            !is_older(stored.version),
            "I3: a row from before DeleteUser"
        );
    }
}

/// `DeleteUser` doesn't delete more either. A row that is stored for another user meanwhile stays,
/// and so does a row that never was the user's.
pub async fn i3_delete_user_spares_rows_that_change_hands_meanwhile<B: Backend>(backend: B) {
    let [broker, other] = two_brokers(&backend);
    for _ in 0..3 {
        let keys: Vec<_> = (0..100)
            .map(|number| key(&format!("s{number}"), "p"))
            .collect();
        for key in &keys {
            broker.put(key, &row("u", "old")).await;
        }
        let mut moves = JoinSet::new();
        for key in &keys {
            let (other, key) = (other.clone(), key.clone());
            moves.spawn(async move {
                let version = other.put(&key, &row("v", "moved")).await;
                (key, version)
            });
        }
        broker.delete_user(&user("u")).await.unwrap();
        for (key, version) in moves.join_all().await {
            let found = broker.version(&key).await;
            assert_eq!(
                found,
                Some(version),
                "I3: DeleteUser took another user's row"
            );
            whole_or_gone(&broker, &key).await;
        }
        broker.delete_user(&user("v")).await.unwrap();
    }
}

/// A refresh, a delete and a login race. The refresh never wins over either of the others.
pub async fn i4_a_refresh_racing_a_delete_or_a_login_loses<B: Backend>(backend: B) {
    use token_broker::tokens::Precondition;
    let [broker, other] = two_brokers(&backend);
    for round in 0..100 {
        let key = key(&format!("s{round}"), "p");
        let version = broker.put(&key, &row("u", "1")).await;
        let (refresher, at) = (broker.clone(), key.clone());
        let refresh = tokio::spawn(async move {
            let began_with = Precondition::Version(version);
            refresher
                .put_if(&at, &row("u", "refreshed"), began_with)
                .await
                .ok()
        });
        let expected = if round % 2 == 0 {
            other.remove(&key).await;
            None
        } else {
            Some(other.put(&key, &row("u", "2")).await)
        };
        refresh.await.unwrap();
        assert_eq!(
            broker.version(&key).await,
            expected,
            "I4: a refresh undid what came later"
        );
    }
}

/// A write that one broker answered OK is visible at once through the other one.
pub async fn i7_a_write_is_readable_through_every_broker_at_once<B: Backend>(backend: B) {
    let brokers = two_brokers(&backend);
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let [writer, reader] = [number % 2, (number + 1) % 2].map(|side| brokers[side].clone());
        tasks.spawn(async move {
            let (name, key) = (format!("u{number}"), key(&format!("s{number}"), "p"));
            for _ in 0..3 {
                let version = writer.put(&key, &row(&name, "at")).await;
                let read = reader.version(&key).await;
                assert_eq!(read, Some(version), "I7: another version than the last");
                let rows = reader.rows_of(&key.session).await;
                assert_eq!(rows[&key.provider].version, version, "I7: GetAll");
                let latest = reader
                    .latest_for_user(&user(&name), &key.provider, &Default::default())
                    .await;
                assert_eq!(latest.unwrap().version, version, "I7: GetLatestForUser");
                assert_eq!(
                    reader.listed(&user(&name)).await,
                    std::slice::from_ref(&key),
                    "I7: the listing"
                );
                assert!(writer.remove(&key).await);
                assert_eq!(reader.read(&key).await, None, "I7: a deleted row");
                assert!(
                    reader.rows_of(&key.session).await.is_empty(),
                    "I7: a deleted row"
                );
            }
        });
    }
    tasks.join_all().await;
}
