//! Tests I1, I5 and I9 on the keys in Redis.

use std::time::Duration;

use testkit::{rows::*, snapshot::Snapshot, waiting::until};
use token_broker::{
    store::{Put, Store},
    types::{RowKey, Version},
};

use crate::tenant;

/// Returns how many members an index has, and how many of their rows exist, at one instant.
const SIZES: &str = r"
local members, alive = redis.call('SMEMBERS', KEYS[1]), 0
for _, member in ipairs(members) do alive = alive + redis.call('EXISTS', member) end
return { #members, alive }";

/// Simulates twenty-seven years of daily logins whose rows expire: pruning keeps up with them. One row without an
/// expiry keeps the index itself from expiring.
#[tokio::test]
async fn i5_ten_thousand_logins_leave_a_small_index() {
    const LOGINS: usize = 10_000;
    let tenant = tenant();
    let store = tenant.store();
    let index = tenant.key("user:upstream:u");
    let (row, mut raw) = (row("u", "at"), tenant.raw());
    let (mut largest, mut most_alive) = (0, 0);
    for login in 0..LOGINS {
        let key = key(&format!("s{login}"), "p");
        let put = Put {
            keep_for: (login > 0).then_some(Duration::from_millis(30)),
            ..put_always(&key, &row)
        };
        store.put(put).await.unwrap();
        let sizes = redis::cmd("EVAL")
            .arg(SIZES)
            .arg(1)
            .arg(&index)
            .query(&mut raw);
        let (members, alive): (usize, usize) = sizes.unwrap();
        largest = largest.max(members);
        most_alive = most_alive.max(alive);
    }
    // On a slow machine fewer rows are alive at once, so chance has more influence.
    assert!(
        largest <= (2 * most_alive).max(20),
        "I5: {largest} members for {most_alive} rows"
    );
    assert!(
        most_alive < LOGINS / 20,
        "rows expired: {most_alive} were alive"
    );
}

/// The same for one session whose providers come and go.
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

/// An index to which nothing is added any more loses its dead members, too, by a few of the writes that replace a row.
#[tokio::test]
async fn i5_writes_that_add_no_row_forget_dead_ones_too() {
    const DEAD: usize = 60;
    let tenant = tenant();
    let (store, row) = (tenant.store(), row("u", "at"));
    let put = async |key: &RowKey, is_pruning: bool| {
        let versions = std::iter::repeat_with(Version::random);
        let mut fit = versions.filter(|version| (version.number() % 100 == 0) == is_pruning);
        let put = Put {
            version: fit.next().unwrap(),
            ..put_always(key, &row)
        };
        store.put(put).await.unwrap();
    };
    let alive = key("s", "alive");
    put(&alive, false).await;
    for number in 0..DEAD {
        put(&key("s", &format!("p{number}")), false).await;
    }
    for number in 0..DEAD {
        let dead = tenant.key(&format!("upstream:s:p{number}"));
        tenant.run::<()>(&["DEL", &dead]);
    }
    let indexes = ["upstream:idx:s", "user:upstream:u"].map(|index| tenant.key(index));
    let sizes = || {
        indexes
            .each_ref()
            .map(|index| tenant.run::<usize>(&["SCARD", index]))
    };
    put(&alive, false).await;
    assert_eq!(sizes(), [DEAD + 1; 2], "such a write doesn't look");
    // Each of these looks at a hundred random members.
    for _ in 0..10 {
        put(&alive, true).await;
    }
    assert_eq!(sizes(), [1; 2], "I5");
}

/// I9: reads change no key, except that they remove members whose row is gone.
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
        broker
            .latest_for_user(&user("u"), &key.provider, &Default::default())
            .await
            .ok();
    }
    broker
        .get_all(
            &session("s"),
            &token_broker::tokens::Binding::default(),
            &Default::default(),
        )
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
    use testkit::snapshot::Content;
    let alive: Vec<_> = snapshot.0.keys().cloned().collect();
    for value in snapshot.0.values_mut() {
        if let Content::Set(members) = &mut value.content {
            members.retain(|member| alive.contains(member));
        }
    }
}

/// A row that expires affects no other key, and its indexes expire with the last row.
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
