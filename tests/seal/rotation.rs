//! Tests sealing all rows with another key.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use testkit::{
    broker::Broker,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::{access_token, bare, key, row, user},
    sealing,
    snapshot::{Content, Life},
    waiting::until,
};
use token_broker::{
    error::Error,
    store::{
        Sealed,
        redis::{
            RedisStore,
            maintenance::{
                progress::Silent,
                reseal::{Report, Reseal},
            },
        },
    },
    tokens::Binding,
    types::{RowKey, Version},
};

use crate::{figures::Span, json, name, sealed_with, tenant, text};

/// How long a caller waits between two calls while rows are sealed. Redis has something left for the rotation.
const PAUSE: Duration = Duration::from_millis(1);

/// Seals all rows with the first key.
pub async fn rotate(tenant: &RedisTenant, keys: &[&str]) -> Report {
    let sealing = sealing::sealing(tenant.name(), keys);
    let reseal = Reseal::new(&tenant.store(), sealing).taking(100);
    reseal.run(&Silent).await.unwrap()
}

/// Returns how many rows are sealed with which key. Plain ones are under an empty name.
fn by_key(tenant: &RedisTenant) -> BTreeMap<String, usize> {
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

/// Rotation under load: brokers store, and one doesn't have the new key. The program that rotates is killed on the way, and
/// begun again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_under_load_that_is_killed_on_the_way() {
    let rows: usize = env::var("SEAL_ROWS").map_or(2_000, |count| count.parse().unwrap());
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
    let old = tenant.sealed_broker(&["old"]);
    let of = |number: usize| key(&format!("s{number}"), "p");
    let mut versions = BTreeMap::<usize, Version>::new();
    for first in (0..rows).step_by(64) {
        let some = first..rows.min(first + 64);
        let puts = some.clone().map(|number| {
            let row = row(&format!("u{}", number % 100), &format!("at-{number}"));
            let (old, key) = (&old, of(number));
            async move { old.put(&key, &row).await }
        });
        versions.extend(some.zip(join_all(puts).await));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    write_private(&file, &sealing::file(&["new", "old"]));

    // Every tenth row is stored again and again, by a broker that seals with the new key already.
    let stop = Arc::new(AtomicBool::new(false));
    let stored = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn({
        let (broker, stop, stored) = (
            tenant.sealed_broker(&["new", "old"]),
            Arc::clone(&stop),
            Arc::clone(&stored),
        );
        async move {
            let mut last = BTreeMap::<usize, (String, Version)>::new();
            while !stop.load(Ordering::Relaxed) {
                let round = stored.fetch_add(1, Ordering::Relaxed);
                let number = (round * 10) % rows;
                let token = format!("round-{round}");
                let version = broker
                    .put(&key(&format!("s{number}"), "p"), &row("u", &token))
                    .await;
                last.insert(number, (token, version));
                tokio::time::sleep(PAUSE).await;
            }
            last
        }
    });
    // A broker without the new key sees each row as it is, or is told that the key is missing.
    let reading = tokio::spawn({
        let (broker, stop) = (tenant.sealed_broker(&["old"]), Arc::clone(&stop));
        async move { read_all(&broker, rows, &stop).await }
    });

    let rotating = || {
        let mut command = testkit::broker_process::program();
        command
            .args(["keys", "rotate", "--share", "20", "--report", "json"])
            .args([
                "--redis-url",
                &redis.url(),
                "--tenant",
                &tenant.name().to_string(),
            ])
            .arg("--seal-keys")
            .arg(&file)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        command
    };
    let alone = Span::begin(&redis);
    until("others have read and stored a while", async || {
        stored.load(Ordering::Relaxed) > rows.min(2_000) / 10
    })
    .await;
    let alone = alone.end();
    let mut killed = rotating().spawn().unwrap();
    // Some of the rows tell: a look at all of them would keep Redis from everybody for a second.
    let sampled = || {
        let some = (1..rows).step_by((rows / 200).max(1));
        some.map(|number| sealed_with(&tenant, &of(number)).unwrap())
            .filter(|key| key == "new")
            .count()
    };
    until("some rows are sealed", async || sampled() > 25).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(sampled() < 200, "killed too late to show anything");

    let mut rest = rotating();
    let meanwhile = Span::begin(&redis);
    let done = tokio::task::spawn_blocking(move || rest.output()).await;
    let meanwhile = meanwhile.end();
    let output = done.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let resealed = report["done"]["resealed"].as_u64().unwrap();
    assert!(resealed > 0, "{report}");
    stop.store(true, Ordering::Relaxed);
    let last = writing.await.unwrap();
    let (missing, reads) = reading.await.unwrap();
    assert!(missing > 0, "nobody was without the key");
    assert!(last.len() > 1);
    let (seconds, passes) = (meanwhile.seconds(), &report["done"]["passes"]);
    let per_second = resealed as f64 / seconds;
    println!(
        "{resealed} of {rows} rows sealed again in {seconds:.1} s ({per_second:.0} rows/s) and {passes} passes"
    );
    println!("others before: {}", alone.reads(&reads));
    println!("others meanwhile: {}", meanwhile.reads(&reads));

    assert_eq!(by_key(&tenant), [("new".to_owned(), rows)].into());
    let new = tenant.sealed_broker(&["new"]);
    for number in 0..rows {
        let found = new.read(&of(number)).await.unwrap();
        match last.get(&number) {
            Some((token, version)) => {
                assert_eq!(
                    (access_token(&found.row), found.version),
                    (&**token, *version)
                );
            }
            None => {
                assert_eq!(access_token(&found.row), format!("at-{number}"));
                assert_eq!(found.version, versions[&number]);
            }
        }
    }
    tenant.audit();
}

/// Reads all rows again and again. Returns how often the key was missing, and when each read began and how long it took.
async fn read_all(
    broker: &Broker<Sealed<RedisStore>>,
    rows: usize,
    stop: &AtomicBool,
) -> (usize, Vec<(Instant, Duration)>) {
    let (mut missing, mut reads) = (0, Vec::new());
    for number in (0..rows).cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (row, begun) = (key(&format!("s{number}"), "p"), Instant::now());
        let read = broker.get(&row, &Binding::default()).await;
        reads.push((begun, begun.elapsed()));
        match read {
            Ok(stored) => assert!(!access_token(&stored.row).is_empty()),
            Err(Error::KeyMissing(_)) => missing += 1,
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    (missing, reads)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
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
