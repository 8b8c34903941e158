//! Tests the change of a row together with its record where Redis refuses writes, where it counts only on a replica, and
//! while its slot moves to another node: both change, or neither.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use testkit::{
    cluster::{Cluster, Options, slot},
    launch::Launch,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    replica::follow,
    rows::*,
    waiting::until,
};
use token_broker::{
    store::{Change, Error, Records, RowChange, redis::RedisStore},
    types::{Entry, Record, StoredRow, TokenHash, Version},
};

/// Writes a number into the row and into its record.
async fn write(store: &RedisStore, number: u32) -> Result<bool, Error> {
    let key = key("s", "p");
    let seen = store.look(&key).await?;
    let mut stored: StoredRow = seen.stored().unwrap().clone();
    stored.row.access_token = secret(&number.to_string());
    stored.version = Version::random();
    let token = TokenHash::of(stored.row.refresh_token.as_ref().unwrap());
    let record = Record::new(vec![Entry {
        failures: number,
        ..Entry::free(token)
    }]);
    let change = Change {
        record: &record,
        row: Some(RowChange {
            stored: &stored,
            keep_for: Some(Some(DAY)),
        }),
        ends: None,
    };
    store.change(&key, &seen, change).await
}

/// Returns the numbers in the row and in its record.
async fn read(store: &RedisStore) -> Result<(String, u32), Error> {
    let seen = store.look(&key("s", "p")).await?;
    let token = seen.stored().unwrap().row.access_token.as_ref().unwrap();
    let entry = seen.record.entries().first();
    Ok((
        token.expose().to_owned(),
        entry.map_or(0, |entry| entry.failures),
    ))
}

async fn refused(tenant: &RedisTenant, store: &RedisStore) {
    let before = tenant.snapshot();
    let outcome = write(store, 2).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert!(tenant.snapshot() == before, "it wrote something");
}

async fn tenant_with_a_row(server: &RedisServer) -> (RedisTenant, RedisStore) {
    let tenant = RedisTenant::on(server);
    tenant.broker().put(&key("s", "p"), &row("u", "0")).await;
    let store = tenant.store();
    assert!(write(&store, 1).await.unwrap());
    (tenant, store)
}

#[tokio::test]
async fn a_replica_changes_nothing() {
    let server = RedisServer::start();
    let (tenant, store) = tenant_with_a_row(&server).await;
    tenant.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    refused(&tenant, &store).await;
    tenant.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    until("it writes again", async || {
        write(&store, 3).await.is_ok_and(|written| written)
    })
    .await;
}

/// Redis answers MISCONF.
#[tokio::test]
async fn a_redis_that_can_not_save_changes_nothing() {
    let server = Launch::default().lines(["save 3600 1000000"]).start();
    let (tenant, store) = tenant_with_a_row(&server).await;
    // There is a directory where the file should be.
    let file = server.dir().join("dump.rdb");
    fs::create_dir_all(file.join("full")).unwrap();
    tenant.run::<()>(&["BGSAVE"]);
    until("it refuses writes", async || {
        let set = server.ask::<()>(&["SET", "x", "1"]);
        set.is_err_and(|error| error.code() == Some("MISCONF"))
    })
    .await;
    refused(&tenant, &store).await;
    tenant.run::<()>(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    assert!(write(&store, 3).await.unwrap());
}

#[tokio::test]
async fn a_change_counts_when_a_replica_has_row_and_record() {
    let primary = RedisServer::start();
    let replica = follow(&primary, Launch::default()).await;
    let tenant = RedisTenant::on(&primary)
        .with("durability", "replicated")
        .with("durability-timeout", "10s");
    tenant.broker().put(&key("s", "p"), &row("u", "0")).await;
    let store = tenant.store();
    let keys = ["upstream:s:p", "broker:refresh:s:p"].map(|name| tenant.key(name));
    let reads = [&["GET", &keys[0]][..], &["HGET", &keys[1], "change"]];
    for number in 1..50 {
        assert!(write(&store, number).await.unwrap());
        for read in reads {
            let at_replica: Vec<u8> = replica.ask(read).unwrap();
            assert!(at_replica == tenant.run::<Vec<u8>>(read), "{number}");
        }
    }
    replica.pause();
    let impatient = tenant.with("durability-timeout", "300ms").store();
    let outcome = write(&impatient, 50).await;
    assert!(matches!(outcome, Err(Error::NotDurable(_))), "{outcome:?}");
    replica.resume();
    until("changes count again", async || {
        write(&store, 51).await.is_ok_and(|written| written)
    })
    .await;
}

/// The keys move one by one, so that the row is on one node and the record on another for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_tears_nothing_apart() {
    // No node is to be taken for one that failed because the machine is busy.
    let cluster = Cluster::start(&Options {
        node_timeout: Duration::from_secs(5),
        ..Options::default()
    });
    cluster.settled().await;
    let tenant = RedisTenant::on(&cluster);
    tenant.broker().put(&key("s", "p"), &row("u", "0")).await;
    let (store, reader) = (tenant.store(), tenant.store());
    assert!(write(&store, 1).await.unwrap());
    let is_over = AtomicBool::new(false);
    let writing = async {
        let (mut last, mut number) = (1, 1);
        while !is_over.load(Ordering::SeqCst) {
            number += 1;
            if let Ok(written) = write(&store, number).await {
                assert!(written, "nobody else writes");
                last = number;
            }
        }
        (last, number)
    };
    let reading = async {
        let mut reads = 0;
        while !is_over.load(Ordering::SeqCst) {
            if let Ok((token, failures)) = read(&reader).await {
                assert_eq!(token, failures.to_string());
                reads += 1;
            }
        }
        reads
    };
    let moving = async {
        let slot = slot(&tenant.prefix());
        for _ in 0..6 {
            let from = cluster.owner_of(slot).unwrap();
            let moving = cluster.begin_move(slot, from, (from + 1) % 3);
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let moved = tokio::task::block_in_place(|| cluster.move_keys(moving, 1));
                if moved == 0 {
                    break;
                }
            }
            cluster.finish_move(moving);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let ((last, number), reads, ()) = tokio::join!(writing, reading, moving);
    assert!(last > 1 && reads > 0, "{last} of {number}, {reads} reads");
    let (token, failures) = read(&store).await.unwrap();
    assert_eq!(token, failures.to_string());
    // What came after the last write that is known of isn't.
    assert!(
        (last..=number).contains(&failures),
        "{failures}, {last}, {number}"
    );
}
