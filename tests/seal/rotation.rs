//! Tests sealing all rows with another key.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::{access_token, bare, key, row, user},
    sealing,
    snapshot::{Content, Life},
};
use token_broker::{
    store::redis::maintenance::{
        progress::Silent,
        reseal::{Report, Reseal},
    },
    types::RowKey,
};

use crate::{json, name, sealed_with, tenant, text};

/// Seals all rows with the first key.
pub async fn rotate(tenant: &RedisTenant, keys: &[&str]) -> Report {
    taking(100, tenant, keys).await
}

/// The same, in this part of Redis' time, in percent.
async fn taking(share: u8, tenant: &RedisTenant, keys: &[&str]) -> Report {
    let sealing = sealing::sealing(tenant.name(), keys);
    let reseal = Reseal::new(&tenant.store(), sealing).taking(share);
    reseal.run(&Silent).await.unwrap()
}

/// Returns how many rows are sealed with which key. Plain ones are under an empty name.
pub fn by_key(tenant: &RedisTenant) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let prefix = tenant.key("upstream:");
    for (key, value) in &tenant.snapshot().0 {
        let (Ok(key), Content::Text(bytes)) = (std::str::from_utf8(key), &value.content) else {
            continue;
        };
        if !key.starts_with(&prefix) {
            continue;
        }
        let row: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let envelope = row["sealed"].as_str().unwrap_or_default();
        let of = envelope.split('.').nth(1).unwrap_or_default();
        *counts.entry(of.to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn rows_keep_their_version_their_life_and_what_is_not_known() {
    let tenant = tenant();
    let (plain, old) = (tenant.broker(), tenant.sealed_broker(&["old"]));
    let (a, b, c) = (key("s", "a"), key("s", "b"), key("s", "c"));
    plain.put(&a, &row("u", "plain")).await;
    old.put_for(&b, &row("u", "sealed"), Duration::from_secs(3_000))
        .await;
    // What other software wrote has no version: readers derive one from its bytes.
    let foreign = r#"{"provider_id":"c","access_token":"at","refresh_token":"","id_token":"","expires_at":0,"user_id":"u","upstream_subject":"","client_id":"","theirs":{"x":[1.0]}}"#;
    let theirs = tenant.key(&name(&c));
    tenant.run::<()>(&["SET", &theirs, foreign]);
    tenant.run::<()>(&["SADD", &tenant.key("upstream:idx:s"), &theirs]);
    tenant.run::<()>(&["PERSIST", &tenant.key("upstream:idx:s")]);
    tenant.run::<()>(&["SADD", &tenant.key("user:upstream:u"), &theirs]);
    tenant.run::<()>(&["PERSIST", &tenant.key("user:upstream:u")]);
    let keys = [&a, &b, &c];
    let both = tenant.sealed_broker(&["new", "old"]);
    let mut before = Vec::new();
    for key in keys {
        before.push(both.read(key).await.unwrap());
    }
    let ends = |key: &RowKey| -> i64 { tenant.run(&["PEXPIRETIME", &tenant.key(&name(key))]) };
    let lives = keys.map(ends);

    let report = rotate(&tenant, &["new", "old"]).await;
    assert_eq!((report.done.resealed, report.left()), (3, 0), "{report}");
    for (at, key) in keys.into_iter().enumerate() {
        assert_eq!(sealed_with(&tenant, key).as_deref(), Some("new"));
        let after = both.read(key).await.unwrap();
        assert!(after == before[at], "{key:?}");
        assert_eq!(ends(key), lives[at], "the life to the millisecond");
    }
    assert_eq!(json(&tenant, &c)["theirs"]["x"][0], 1.0);
    tenant.audit();
    // A caller's version is as good as before.
    for (at, key) in keys.into_iter().enumerate() {
        let deleted = both.delete(key, Some(before[at].version)).await;
        assert!(deleted.unwrap(), "{key:?}");
    }
    // There is nothing left to do.
    let again = rotate(&tenant, &["new", "old"]).await;
    assert_eq!((again.done.resealed, again.done.passes), (0, 1));
}

#[tokio::test]
async fn what_cannot_be_opened_stays_as_it_is_and_is_counted() {
    let tenant = tenant();
    tenant
        .sealed_broker(&["lost"])
        .put(&key("s", "a"), &bare("at"))
        .await;
    let broker = tenant.sealed_broker(&["old"]);
    broker.put(&key("s", "b"), &bare("at")).await;
    broker.put(&key("s", "c"), &bare("at")).await;
    let damaged = text(&tenant, &key("s", "b"));
    tenant.write_row(&name(&key("s", "c")), &damaged.replace("\"b\"", "\"c\""));
    let before = [key("s", "a"), key("s", "c")].map(|key| text(&tenant, &key));
    let report = rotate(&tenant, &["new", "old"]).await;
    assert_eq!(
        report.counts.sealed,
        [("lost", 1), ("new", 1), ("old", 1)]
            .map(|(key, count)| (sealing::key(key).id().to_string(), count))
            .into()
    );
    assert_eq!(
        (report.counts.key_missing, report.counts.unreadable),
        (1, 1)
    );
    assert_eq!(report.left(), 2);
    assert_eq!(
        [key("s", "a"), key("s", "c")].map(|key| text(&tenant, &key)),
        before
    );
}

/// A write that comes between the reading of a row and its sealing isn't undone, and neither is a delete.
#[tokio::test]
async fn what_is_written_meanwhile_is_not_undone() {
    let tenant = tenant();
    let old = tenant.sealed_broker(&["old"]);
    let rows = [key("s", "stored"), key("s", "deleted"), key("s", "left")];
    for key in &rows {
        old.put(key, &row("u", "before")).await;
    }
    let is_first = Arc::new(AtomicBool::new(true));
    let writer = tenant.sealed_broker(&["old"]);
    let proxy = {
        let rows = rows.clone();
        RespProxy::start(RedisServer::shared().port(), move |command| {
            // The script that writes the rows, by its hash or with its source, is the first one with a row as JSON.
            let is_write = command.name().starts_with("EVAL");
            let (is_first, writer, rows) = (Arc::clone(&is_first), writer.clone(), rows.clone());
            async move {
                if is_write && is_first.swap(false, Ordering::SeqCst) {
                    writer.put(&rows[0], &row("u", "meanwhile")).await;
                    assert!(writer.remove(&rows[1]).await);
                }
                Fate::Forward
            }
        })
        .await
    };
    let slow = tenant.at_port(proxy.port());
    let report = rotate(&slow, &["new", "old"]).await;
    let new = tenant.sealed_broker(&["new"]);
    assert_eq!(
        access_token(&new.read(&rows[0]).await.unwrap().row),
        "meanwhile"
    );
    assert!(new.read(&rows[1]).await.is_none(), "brought back");
    assert_eq!(
        access_token(&new.read(&rows[2]).await.unwrap().row),
        "before"
    );
    assert_eq!(report.done.resealed, 2, "{report}");
    tenant.audit();
}

/// Returns which part of a rotation's time a Redis is busy with it that takes so long for each answer.
async fn busy(share: u8, takes: Duration) -> f64 {
    let tenant = tenant();
    let old = tenant.sealed_broker(&["old"]);
    for number in 0..200 {
        old.put(&key(&format!("s{number}"), "p"), &bare("at")).await;
    }
    let held = Arc::<Mutex<Duration>>::default();
    let proxy = RespProxy::start(RedisServer::shared().port(), {
        let (held, rows) = (Arc::clone(&held), tenant.key("upstream:"));
        move |command| {
            // Keys are listed and rows read by one command each. A batch is written by many at once, which would add up here; and
            // what a pass asks once is no row.
            let is_slow = match &*command.name() {
                "SCAN" => true,
                "MGET" => command.args[1].starts_with(rows.as_bytes()),
                _ => false,
            };
            let held = Arc::clone(&held);
            async move {
                if is_slow {
                    let begun = Instant::now();
                    tokio::time::sleep(takes).await;
                    *held.lock().unwrap() += begun.elapsed();
                }
                Fate::Forward
            }
        }
    })
    .await;
    let (slow, begun) = (tenant.at_port(proxy.port()), Instant::now());
    let report = taking(share, &slow, &["new", "old"]).await;
    let took = begun.elapsed();
    assert_eq!((report.done.resealed, report.left()), (200, 0));
    let held = *held.lock().unwrap();
    held.as_secs_f64() / took.as_secs_f64()
}

/// A rest follows each answer, four times as long for 20 percent. However busy the machine is, that only makes the part smaller.
#[tokio::test]
async fn a_rotation_takes_no_more_of_the_time_of_redis_than_it_may() {
    let part = busy(20, Duration::from_millis(40)).await;
    assert!(part <= 0.2, "{part}");
    // Without rests it is nearly all of the time. Otherwise nothing is shown by this. The answers take so long that what the
    // rotation does itself hardly counts, also on a machine that is busy.
    let without_rests = busy(100, Duration::from_millis(200)).await;
    assert!(without_rests > 0.3, "{without_rests}");
    println!("Redis is busy for {part:.3} of the time, and {without_rests:.3} without rests");
}

/// The audit sees rows and indexes alike, sealed or not.
#[tokio::test]
async fn a_sealed_row_is_in_its_indexes() {
    let tenant = tenant();
    let broker = tenant.sealed_broker(&["k"]);
    broker.put(&key("s", "p"), &row("u", "at")).await;
    broker.put(&key("s", "p"), &row("v", "at")).await;
    assert!(broker.listed(&user("u")).await.is_empty());
    assert_eq!(broker.listed(&user("v")).await, [key("s", "p")]);
    let life: Option<Life> = tenant.snapshot().life(&tenant.key(&name(&key("s", "p"))));
    assert!(life.is_some());
    tenant.audit();
}
