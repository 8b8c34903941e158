//! M1, M5: a migration is killed at every step. The data is sound at once, and the next run
//! finishes the work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::resp_proxy::{Fate, RespProxy};
use token_broker::store::redis::maintenance::migration::progress::Silent;

use crate::{
    old_tenant::{OldTenant, P},
    seed::{MAPPING, ROWS, assert_whole, seed},
};

/// Redis is out of memory at each row. A write that it refuses changes nothing, and a later run
/// moves the row. Each row goes in a call of its own.
#[tokio::test]
async fn m1_out_of_memory_at_every_row() {
    let tenant = Arc::new(OldTenant::new().await);
    // From now on Redis knows the scripts, so each row is sent once.
    seed(&tenant).await;
    tenant.migrate(MAPPING).await;
    for at in 1..=ROWS.len() {
        tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
        seed(&tenant).await;
        let before = tenant.snapshot_of_all();
        let (inner, moves) = (Arc::clone(&tenant), Arc::new(AtomicUsize::new(0)));
        let proxy = RespProxy::start(tenant.redis.port(), move |command| {
            let index = format!("{P}upstream:idx:");
            let is_move = command
                .args
                .iter()
                .any(|arg| arg.starts_with(index.as_bytes()));
            let due = is_move && moves.fetch_add(1, Ordering::SeqCst) + 1 == at;
            let tenant = Arc::clone(&inner);
            async move {
                if due {
                    // Redis must have executed everything that was sent before.
                    let moved = format!("{P}upstream:s*:*");
                    while tenant.cmd::<Vec<String>>("KEYS", &[&moved]).await.len() + 1 < at {
                        tokio::task::yield_now().await;
                    }
                    tenant.cmd::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
                }
                Fate::Forward
            }
        })
        .await;
        let run = tenant
            .migration_at(proxy.port(), MAPPING)
            .with_rows_a_call(1)
            .run(&Silent)
            .await;
        assert!(run.is_err(), "{at}");
        assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), at - 1);
        tenant.cmd::<()>("CONFIG", &["SET", "maxmemory", "0"]).await;
        assert_eq!(
            tenant.migrate(MAPPING).await.rows.migrated as usize,
            ROWS.len() + 1 - at
        );
        assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
    }
}

/// Cuts the connection for good at the `at`th command, before or after Redis executes it. So many rows go in one call.
/// Returns whether the run finished before that.
async fn die(tenant: &OldTenant, at: usize, fate: Fate, rows_a_call: usize) -> bool {
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let due = command.number == at;
        let fate = if due { fate.clone() } else { Fate::Forward };
        async move { fate }
    })
    .await;
    let migration = tenant
        .migration_at(proxy.port(), MAPPING)
        .with_rows_a_call(rows_a_call);
    // One that dies looks for no other connection.
    tokio::select! {
        // If only the last command is lost, which gives up the lease, the work is done.
        run = migration.run(&Silent) => assert!(run.is_ok() || proxy.was_cut()),
        () = proxy.cut() => {}
    }
    !proxy.was_cut()
}

#[tokio::test]
async fn m5_a_crash_before_every_step() {
    crash_at_every_step(Fate::CutBefore, 1, &[0, 1, 2, 3, 4, 5, 6]).await;
}

#[tokio::test]
async fn m5_a_crash_after_every_step() {
    crash_at_every_step(Fate::CutAfter, 1, &[0, 1, 2, 3, 4, 5, 6]).await;
}

#[tokio::test]
async fn m5_a_crash_after_every_step_of_several_rows() {
    crash_at_every_step(Fate::CutAfter, 4, &[0, 4, 6]).await;
}

/// `counts` are how many rows are migrated after the one crash or the other.
async fn crash_at_every_step(fate: Fate, rows_a_call: usize, counts: &[usize]) {
    let tenant = OldTenant::new().await;
    let mut survived = Vec::new();
    for at in 1.. {
        tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
        seed(&tenant).await;
        let before = tenant.snapshot_of_all();
        let through = die(&tenant, at, fate.clone(), rows_a_call).await;
        let migrated = assert_whole(&before, &tenant.snapshot_of_all());
        survived.push(migrated);

        // The lease of the killed run would expire, but this test doesn't wait for that.
        tenant
            .cmd::<()>("DEL", &[format!("{P}broker:migration:lease")])
            .await;
        let report = tenant.migrate(MAPPING).await;
        assert!(report.is_complete(), "at {at}: {report}");
        assert_eq!(
            usize::try_from(report.rows.migrated).unwrap(),
            ROWS.len() - migrated,
            "each row is moved once"
        );
        assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
        if through {
            assert!(at > 10, "a run has more commands than {at}");
            break;
        }
    }
    survived.sort_unstable();
    survived.dedup();
    assert_eq!(survived, counts);
}
