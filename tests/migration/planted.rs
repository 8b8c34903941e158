//! What is planted in the place of the migration's own keys, by somebody who may write to Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use testkit::{
    captured_log::CapturedLog,
    resp_proxy::{Fate, RespProxy},
};
use token_broker::store::redis::maintenance::migration::progress::Silent;
use tokio::time::timeout;

use crate::{
    lost_record::put,
    old_tenant::{OldTenant, P, old_json, told},
    seed::MAPPING,
};

/// What no broker has in the place of its lease: commands with the key left out.
const FOREIGN: [(&str, &[&str]); 5] = [
    ("SET", &["somebody"]),
    ("SET", &["somebody", "PX", "86400000"]),
    ("RPUSH", &["somebody"]),
    ("HSET", &["some", "body"]),
    ("SADD", &["somebody"]),
];

/// What a broker that doesn't work has waited for longer than any test.
const PATIENCE: Duration = Duration::from_secs(20);

async fn plant(tenant: &OldTenant, key: &str, (command, args): (&str, &[&str])) {
    tenant.cmd::<()>("DEL", &[key]).await;
    let args = [&[key], args].concat();
    tenant.cmd::<redis::Value>(command, &args).await;
}

#[tokio::test]
async fn m5_a_lease_that_no_broker_took_keeps_no_migration_away() {
    let tenant = OldTenant::new().await;
    let lease = format!("{P}broker:migration:lease");
    for (n, foreign) in FOREIGN.into_iter().enumerate() {
        let session = format!("s{n}");
        let json = old_json("oidc", "u", &session);
        tenant.old_row(&session, &json, "u", None).await;
        plant(&tenant, &lease, foreign).await;
        let migration = tenant.migration(MAPPING);
        let report = timeout(PATIENCE, migration.run(&Silent)).await;
        let report = report.unwrap_or_else(|_| panic!("{foreign:?} is waited for"));
        assert_eq!(told(&report.unwrap()), "rows migrated 1", "{foreign:?}");
        assert!(!tenant.exists(&lease).await, "{foreign:?}");
    }
}

/// A lease that may be another broker's is waited for. Once that takes long, the log names its key.
#[tokio::test]
async fn m5_a_lease_that_lasts_is_told_of_once() {
    const TTL: Duration = Duration::from_secs(1);
    let (tenant, key) = (OldTenant::new().await, format!("{P}broker:migration:lease"));
    let (log, _logging) = CapturedLog::of_this_thread();
    plant(&tenant, &key, ("SET", &["x", "PX", "59000"])).await;
    let migration = tenant.migration(MAPPING).with_lease(TTL);
    let about = || {
        let text = log.text();
        let lines = text.lines().filter(|line| line.contains(&key));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let run = migration.run(&Silent);
    tokio::pin!(run);
    let is_held = timeout(2 * TTL, &mut run).await.is_err();
    assert!(is_held && about().is_empty(), "{:?}", about());
    // Three lives, and then as long again, so that a second line would be seen.
    timeout(4 * TTL, &mut run).await.unwrap_err();
    tenant.cmd::<()>("DEL", &[&key]).await;
    timeout(PATIENCE, run).await.unwrap().unwrap();
    let lines = about();
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(
        line.contains("WARN") && line.contains("lives longer than"),
        "{line}"
    );
}

#[tokio::test]
async fn m7_a_lease_that_no_broker_took_keeps_no_sweep_away() {
    let tenant = OldTenant::new().await;
    tenant.migrate(MAPPING).await;
    let lease = format!("{P}broker:sweep:lease");
    let sweep = async || {
        let migration = tenant.migration(&[]);
        migration.sweep(Duration::from_millis(400)).await.unwrap()
    };
    for foreign in FOREIGN {
        plant(&tenant, &lease, foreign).await;
        assert!(sweep().await.is_some(), "{foreign:?}");
    }
    // One that may be another broker's is left, also that of a broker which sweeps rarely.
    for ms in ["5000", "600000"] {
        plant(&tenant, &lease, ("SET", &["somebody", "PX", ms])).await;
        assert!(sweep().await.is_none(), "{ms}");
    }
}

/// Something is planted while the holder works, just before it notes that it is done.
#[tokio::test]
async fn m5_a_lease_that_is_overwritten_while_its_holder_works_is_taken_again() {
    for foreign in FOREIGN {
        let tenant = OldTenant::new().await;
        tenant
            .old_row("s", &old_json("oidc", "u", "s"), "u", None)
            .await;
        let (port, is_planted) = (tenant.redis.port(), Arc::new(AtomicBool::new(false)));
        let proxy = RespProxy::start(port, move |command| {
            let moves = command
                .args
                .iter()
                .any(|arg| arg.ends_with(b"upstream:s:okta"));
            let plants = moves && !is_planted.swap(true, Ordering::SeqCst);
            async move {
                if plants {
                    let client = redis::Client::open(("127.0.0.1", port)).unwrap();
                    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                    let key = format!("{P}broker:migration:lease");
                    let del = redis::cmd("DEL").arg(&key).clone();
                    del.query_async::<()>(&mut connection).await.unwrap();
                    let plant = redis::cmd(foreign.0).arg(&key).arg(foreign.1).clone();
                    plant.query_async::<()>(&mut connection).await.unwrap();
                }
                Fate::Forward
            }
        })
        .await;
        let migration = tenant.migration_at(proxy.port(), MAPPING);
        let report = timeout(PATIENCE, migration.run(&Silent)).await;
        let report = report.unwrap_or_else(|_| panic!("{foreign:?} is waited for"));
        let report = report.unwrap_or_else(|error| panic!("{foreign:?}: {error:?}"));
        assert_eq!(told(&report), "rows migrated 1", "{foreign:?}");
    }
}

/// Scripts and Rust judge the grace period in one way, whatever lies in the place of its mark and of the note about the
/// migration. What nobody can read never counts as its end.
#[tokio::test]
async fn m7_scripts_and_rust_judge_the_grace_period_in_one_way() {
    const NOTE: &str = r#"{"mapping":[],"completed_at":1,"finished":true}"#;
    const VALUES: [Option<(&str, &[&str])>; 6] = [
        None,
        Some(("SET", &[NOTE])),
        Some(("SET", &[""])),
        Some(("RPUSH", &["x"])),
        Some(("SADD", &["x"])),
        Some(("HSET", &["x", "y"])),
    ];
    let tenant = OldTenant::new().await;
    let (mark, note) = (format!("{P}broker:grace"), format!("{P}broker:migration"));
    let index = format!("{P}user:upstream:u");
    let store = tenant.store();
    for (is_marked, of_mark) in VALUES.iter().enumerate() {
        for (is_noted, of_note) in VALUES.iter().enumerate() {
            tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
            for (key, value) in [(&mark, of_mark), (&note, of_note)] {
                if let Some(value) = value {
                    plant(&tenant, key, *value).await;
                }
            }
            let is_open = is_marked > 0 || is_noted != 1;
            let what = format!("mark {of_mark:?}, note {of_note:?}");
            assert_eq!(store.is_in_grace().await.unwrap(), is_open, "Rust: {what}");
            put(&tenant, "s", "u").await;
            // A script gives an index no end in the grace period.
            assert_eq!(tenant.pttl(&index).await == -1, is_open, "scripts: {what}");
        }
    }
}
