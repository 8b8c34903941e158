//! I1, I5 and I9 in Redis itself.

use std::time::Duration;

use token_broker::{
    store::{Condition, Put, Store},
    types::Version,
};

use crate::{
    support::{rows::*, snapshot::Snapshot, waiting::until},
    tenant,
};

/// Thirteen years of daily logins, of which the last twenty are alive: pruning keeps up with them.
#[tokio::test]
async fn i5_five_thousand_logins_leave_a_small_index() {
    const LOGINS: usize = 5_000;
    const ALIVE: usize = 20;
    let tenant = tenant();
    let store = tenant.store();
    let index = tenant.key("user:upstream:u");
    let (row, mut raw) = (row("u", "at"), tenant.raw());
    let mut largest = 0;
    for login in 0..LOGINS {
        let key = key(&format!("s{login}"), "p");
        let put = Put {
            key: &key,
            row: &row,
            version: Version::random(),
            keep_for: Some(Duration::from_secs(3_600)),
            condition: Condition::Always,
            source: None,
            max_providers: 64,
        };
        store.put(put).await.unwrap();
        if let Some(dead) = login.checked_sub(ALIVE) {
            // As if its time were over: Redis takes the row and leaves the indexes.
            let row = tenant.key(&format!("upstream:s{dead}:p"));
            redis::cmd("DEL").arg(row).exec(&mut raw).unwrap();
        }
        let size: usize = redis::cmd("SCARD").arg(&index).query(&mut raw).unwrap();
        largest = largest.max(size);
    }
    assert!(
        largest <= 2 * ALIVE + 20,
        "I5: {largest} members for {ALIVE} rows"
    );
}

/// The same in one session, whose providers come and go.
#[tokio::test]
async fn i5_a_sessions_index_forgets_rows_that_died() {
    let tenant = tenant();
    let broker = tenant.broker();
    for number in 0..200 {
        let provider = format!("p{number}");
        broker.put(&key("s", &provider), &row("u", "at")).await;
        let row = tenant.key(&format!("upstream:s:{provider}"));
        tenant.run::<()>(&["DEL", &row]);
    }
    let size: usize = tenant.run(&["SCARD", &tenant.key("upstream:idx:s")]);
    assert!(size <= 20, "I5: {size} members of a session without rows");
}

/// I9: reads leave every key as it was, but for members whose row is gone.
#[tokio::test]
async fn i9_reads_only_prune() {
    let tenant = tenant();
    let broker = tenant.broker();
    for number in 0..10 {
        broker
            .put(&key("s", &format!("p{number}")), &row("u", "at"))
            .await;
    }
    for dead in ["upstream:s:p0", "upstream:s:p1"] {
        tenant.run::<()>(&["DEL", &tenant.key(dead)]);
    }
    tenant.write_row("upstream:s:p2", "{");
    tenant.write_row("upstream:s:p3", "null");
    let mut before = tenant.snapshot();
    for number in 0..10 {
        let key = key("s", &format!("p{number}"));
        broker
            .get(&key, &token_broker::tokens::Binding::default())
            .await
            .ok();
        broker.latest_for_user(&user("u"), &key.provider).await.ok();
    }
    broker
        .get_all(&session("s"), &token_broker::tokens::Binding::default())
        .await
        .unwrap();
    assert_eq!(broker.listed(&user("u")).await.len(), 6);

    let mut after = tenant.snapshot();
    for snapshot in [&mut before, &mut after] {
        without_dead_members(snapshot);
    }
    assert!(after == before, "I9: a read changed something");
}

fn without_dead_members(snapshot: &mut Snapshot) {
    use crate::support::snapshot::Content;
    let alive: Vec<_> = snapshot.0.keys().cloned().collect();
    for value in snapshot.0.values_mut() {
        if let Content::Set(members) = &mut value.content {
            members.retain(|member| alive.contains(member));
        }
    }
}

/// A row that dies takes nothing along, and its indexes end with the last row.
#[tokio::test]
async fn i5_nothing_is_left_of_a_session_that_died() {
    let tenant = tenant();
    let broker = tenant.broker();
    for provider in ["p", "q"] {
        broker
            .put_for(
                &key("s", provider),
                &row("u", "at"),
                Duration::from_millis(30),
            )
            .await;
    }
    until("all keys are gone", async || {
        tenant.snapshot().names().is_empty()
    })
    .await;
}
