//! Tests the records of refresh tokens in Redis: their layout and lives, what other software left in the row, and what
//! can't be read.

use std::time::Duration;

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::{
    store::{Change, Error, RECORD_OUTLIVES_ROW, Records, RowChange, Seen, redis::RedisStore},
    types::{Entry, EntryState, Lineage, Record, StoreTime, StoredRow, TokenHash, Version},
};

use crate::tenant;

const RECORD: &str = "broker:refresh:s:p";

fn record(state: EntryState) -> Record {
    Record::new(vec![Entry {
        state,
        ..Entry::free(TokenHash::of(&secret("refresh-at").unwrap()))
    }])
}

async fn change(
    store: &RedisStore,
    seen: &Seen,
    record: &Record,
    row: Option<RowChange<'_>>,
) -> Result<bool, Error> {
    let change = Change {
        record,
        row,
        ends: None,
    };
    store.change(&key("s", "p"), seen, change).await
}

/// Notes that the token of the row was redeemed.
async fn note(store: &RedisStore) {
    let seen = store.look(&key("s", "p")).await.unwrap();
    let record = record(EntryState::Redeemed(None));
    assert!(change(store, &seen, &record, None).await.unwrap());
}

fn refreshed(seen: &Seen) -> StoredRow {
    let mut stored = seen.stored().unwrap().clone();
    stored.row.access_token = secret("refreshed");
    stored.version = Version::random();
    stored
}

fn left(tenant: &RedisTenant, rest: &str) -> i64 {
    tenant.run(&["PTTL", &tenant.key(rest)])
}

/// The record lives ten minutes longer than the row, or than from now on.
fn outlives(tenant: &RedisTenant, row: Option<Duration>) {
    let beyond = row.unwrap_or_default() + RECORD_OUTLIVES_ROW;
    let expected = i64::try_from(beyond.as_millis()).unwrap();
    let left = left(tenant, RECORD);
    assert!(
        (expected - 10_000..=expected).contains(&left),
        "{left} of {expected}"
    );
}

#[tokio::test]
async fn a_record_is_a_hash_without_secrets() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    note(broker.backend()).await;
    let fields: std::collections::BTreeMap<String, String> =
        tenant.run(&["HGETALL", &tenant.key(RECORD)]);
    let hash = TokenHash::of(&secret("refresh-at").unwrap());
    let hash: String = hash
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        fields[&hash],
        r#"{"state":"redeemed","place":0,"attempts":[],"lease_ends":0,"failures":0}"#
    );
    assert!(fields["change"].parse::<u64>().unwrap() > 0);
    assert_eq!(fields.len(), 2);
}

#[tokio::test]
async fn a_record_lives_ten_minutes_longer_than_its_row() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    let store = broker.backend();
    broker.put_for(&key, &row("u", "1"), DAY).await;
    note(store).await;
    outlives(&tenant, Some(DAY));
    // Each new life of the row.
    broker.put_for(&key, &row("u", "2"), 2 * DAY).await;
    outlives(&tenant, Some(2 * DAY));
    let bare = bare("3");
    broker.put_for(&key, &bare, DAY).await;
    outlives(&tenant, Some(DAY));
    broker.put(&key, &bare).await;
    assert_eq!(left(&tenant, RECORD), -1);
    for span in [None, Some(DAY)] {
        let seen = store.look(&key).await.unwrap();
        let stored = refreshed(&seen);
        let row = RowChange {
            stored: &stored,
            keep_for: Some(span),
        };
        assert!(change(store, &seen, &seen.record, Some(row)).await.unwrap());
        match span {
            None => assert_eq!(left(&tenant, RECORD), -1),
            Some(span) => outlives(&tenant, Some(span)),
        }
        tenant.audit();
    }
    // Each end.
    for end in 0..4 {
        broker.put(&key, &row("u", &format!("x{end}"))).await;
        match end {
            0 => _ = broker.remove(&key).await,
            1 => _ = broker.delete_all(&key.session).await.unwrap(),
            2 => _ = broker.delete_user(&user("u")).await.unwrap(),
            _ => tenant.run(&["DEL", &tenant.key("upstream:s:p")]),
        }
        if end == 3 {
            let seen = store.look(&key).await.unwrap();
            assert!(change(store, &seen, &seen.record, None).await.unwrap());
        }
        outlives(&tenant, None);
    }
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_know() {
    let tenant = tenant();
    let (broker, key) = (tenant.broker(), key("s", "p"));
    let store = broker.backend();
    broker.put_for(&key, &row("u", "at"), DAY).await;
    let text =
        r#"{"later":[1.0,"é"],"access_token":"at","user_id":"u","refresh_token":"refresh-at"}"#;
    tenant.write_row("upstream:s:p", text);
    for keep_for in [None, Some(Some(2 * DAY))] {
        let seen = store.look(&key).await.unwrap();
        let stored = refreshed(&seen);
        let row = RowChange {
            stored: &stored,
            keep_for,
        };
        assert!(change(store, &seen, &seen.record, Some(row)).await.unwrap());
        let text: String = tenant.run(&["GET", &tenant.key("upstream:s:p")]);
        let head = format!(r#"{{"version":{},"user_id":"u","#, stored.version.number());
        assert!(text.starts_with(&head), "{text}");
        assert!(text.ends_with(r#","later":[1.0,"é"]}"#), "{text}");
        assert_eq!(broker.read(&key).await, Some(stored));
        let kept = keep_for.flatten().unwrap_or(DAY);
        let kept = i64::try_from(kept.as_millis()).unwrap();
        let left = left(&tenant, "upstream:s:p");
        assert!((kept - 10_000..=kept).contains(&left), "{left}");
        tenant.audit();
    }
}

/// A row that is `null` or of another type has a record, too, and stays as it is.
#[tokio::test]
async fn odd_rows_have_records() {
    let tenant = tenant();
    let (store, row) = (tenant.store(), tenant.key("upstream:s:p"));
    for (command, is_there) in [("SET", false), ("RPUSH", true)] {
        tenant.run::<()>(&["DEL", &row, &tenant.key(RECORD)]);
        tenant.run::<()>(&[command, &row, "null"]);
        let seen = store.look(&key("s", "p")).await.unwrap();
        assert_eq!(seen.row.is_some(), is_there, "{command}");
        assert!(seen.stored().is_none());
        note(&store).await;
        let kind: String = tenant.run(&["TYPE", &row]);
        assert_eq!(kind, if is_there { "list" } else { "string" });
        let seen = store.look(&key("s", "p")).await.unwrap();
        tenant.run::<()>(&["DEL", &row]);
        let changed = change(&store, &seen, &seen.record, None).await.unwrap();
        assert!(!changed, "{command}: it was seen, and is gone");
        let seen = store.look(&key("s", "p")).await.unwrap();
        tenant.run::<()>(&["RPUSH", &row, "x"]);
        let changed = change(&store, &seen, &seen.record, None).await.unwrap();
        assert!(
            !changed,
            "{command}: it was gone, and something else is there"
        );
    }
}

/// A server that is promoted has other data from then on. Who holds a lease, and who waits for one, doesn't need to know.
#[tokio::test]
async fn the_lineage_is_told_when_a_lease_is_over() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let (broker, store, key) = (tenant.broker(), tenant.store(), key("s", "p"));
    broker.put(&key, &row("u", "at")).await;
    let lineage = async || store.look(&key).await.unwrap().lineage;
    let set = async |state, lease_ends| {
        let seen = store.look(&key).await.unwrap();
        let mut record = record(state);
        record
            .entry_mut(TokenHash::of(&secret("refresh-at").unwrap()))
            .lease_ends = StoreTime::from_millis(lease_ends);
        assert!(change(&store, &seen, &record, None).await.unwrap());
    };
    assert_eq!(lineage().await, None, "there is no record");
    set(EntryState::Open, u64::MAX / 2).await;
    assert_eq!(lineage().await, None, "somebody has the token");
    set(EntryState::Redeemed(None), 1).await;
    assert_eq!(lineage().await, None, "nobody takes the token over");

    set(EntryState::Open, 1).await;
    let first: Option<Lineage> = lineage().await;
    assert!(first.is_some());
    let other = broker.backend().look(&key).await.unwrap();
    assert_eq!(other.lineage, first, "it is the same for every broker");
    // A promotion. The data stays.
    tenant.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    tenant.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    let second = lineage().await;
    assert!(second.is_some() && second != first, "{second:?}");

    tenant.run::<()>(&["ACL", "SETUSER", "default", "-info"]);
    assert_eq!(lineage().await, None, "the rest can still be read");
}

/// Who can't read a record can't redeem. The error names neither the key nor what is there.
#[tokio::test]
async fn an_unreadable_record_fails() {
    let tenant = tenant();
    let (store, record) = (tenant.store(), tenant.key(RECORD));
    for damage in [
        &["HSET", &record, "change", "x"][..],
        &["HSET", &record, &"a".repeat(64), "{}", "change", "1"],
        &["HSET", &record, &"g".repeat(64), "{}", "change", "1"],
        &["SET", &record, "x"],
    ] {
        tenant.run::<()>(&["DEL", &record]);
        tenant.run::<()>(damage);
        let error = store.look(&key("s", "p")).await.unwrap_err();
        assert_eq!(error, Error::RecordUnreadable);
        let expected = "a record of refresh tokens (broker:refresh:*) can't be read";
        assert_eq!(error.to_string(), expected);
    }
    // The row can be stored and deleted all the same.
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    assert!(broker.remove(&key("s", "p")).await);
}

#[tokio::test]
async fn out_of_memory_leaves_nothing_half_written() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let (broker, key) = (tenant.broker(), key("s", "p"));
    broker.put(&key, &row("u", "at")).await;
    note(broker.backend()).await;
    let seen = broker.backend().look(&key).await.unwrap();
    let before = tenant.snapshot();
    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let stored = refreshed(&seen);
    let row = RowChange {
        stored: &stored,
        keep_for: Some(None),
    };
    let refused = change(broker.backend(), &seen, &Record::default(), Some(row)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(tenant.snapshot() == before);
}
