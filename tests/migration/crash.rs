//! M1, M5: a migrator dies at every single step. The data is whole at once, and the next one ends
//! the work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use token_broker::store::redis::maintenance::migration::progress::Silent;

use crate::{
    resp_proxy::{RespProxy, Verdict},
    seed::{MAPPING, ROWS, assert_whole, seed},
    world::{P, World, migration_on},
};

/// Out of memory at each row: what Redis refuses is refused whole, and the rest comes later.
#[tokio::test]
async fn m1_out_of_memory_at_every_row() {
    let world = Arc::new(World::new().await);
    // From now on the scripts are known: each row is sent once.
    seed(&world).await;
    world.migrate(MAPPING).await;
    for at in 1..=ROWS.len() {
        world.cmd::<()>("FLUSHALL", &["SYNC"]).await;
        seed(&world).await;
        let before = world.dump().await;
        let (inner, moves) = (Arc::clone(&world), Arc::new(AtomicUsize::new(0)));
        let proxy = RespProxy::start(world.redis.port(), move |command| {
            let index = format!("{P}upstream:idx:");
            let is_move = command
                .args
                .iter()
                .any(|arg| arg.starts_with(index.as_bytes()));
            let due = is_move && moves.fetch_add(1, Ordering::SeqCst) + 1 == at;
            let world = Arc::clone(&inner);
            async move {
                if due {
                    // What was sent before has to be done before.
                    let moved = format!("{P}upstream:s*:*");
                    while world.cmd::<Vec<String>>("KEYS", &[&moved]).await.len() + 1 < at {
                        tokio::task::yield_now().await;
                    }
                    world.cmd::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
                }
                Verdict::Forward
            }
        })
        .await;
        let run = migration_on(proxy.port(), MAPPING).run(&Silent).await;
        assert!(run.is_err(), "{at}");
        assert_eq!(assert_whole(&before, &world.dump().await), at - 1);
        world.cmd::<()>("CONFIG", &["SET", "maxmemory", "0"]).await;
        assert_eq!(
            world.migrate(MAPPING).await.rows.migrated as usize,
            ROWS.len() + 1 - at
        );
        assert_eq!(assert_whole(&before, &world.dump().await), ROWS.len());
    }
}

/// Cuts the connection for good at the `at`th command, before or after it is done. Gives whether
/// the run got through, because it had ended before.
async fn die(world: &World, at: usize, verdict: Verdict) -> bool {
    let proxy = RespProxy::start(world.redis.port(), move |command| {
        let due = command.number == at;
        let verdict = if due {
            verdict.clone()
        } else {
            Verdict::Forward
        };
        async move { verdict }
    })
    .await;
    let run = migration_on(proxy.port(), MAPPING).run(&Silent).await;
    assert_eq!(run.is_err(), proxy.was_cut());
    run.is_ok()
}

#[tokio::test]
async fn m5_a_crash_before_every_step() {
    crash_at_every_step(Verdict::CutBefore).await;
}

#[tokio::test]
async fn m5_a_crash_after_every_step() {
    crash_at_every_step(Verdict::CutAfter).await;
}

async fn crash_at_every_step(verdict: Verdict) {
    let world = World::new().await;
    let mut survived = Vec::new();
    for at in 1.. {
        world.cmd::<()>("FLUSHALL", &["SYNC"]).await;
        seed(&world).await;
        let before = world.dump().await;
        let through = die(&world, at, verdict.clone()).await;
        let migrated = assert_whole(&before, &world.dump().await);
        survived.push(migrated);

        // The dead one's lease would run out; here nobody waits for that.
        world
            .cmd::<()>("DEL", &[format!("{P}broker:migration:lease")])
            .await;
        let report = world.migrate(MAPPING).await;
        assert!(report.is_complete(), "at {at}: {report}");
        assert_eq!(
            usize::try_from(report.rows.migrated).unwrap(),
            ROWS.len() - migrated,
            "each row is moved once"
        );
        assert_eq!(assert_whole(&before, &world.dump().await), ROWS.len());
        if through {
            assert!(at > 15, "a run has more commands than {at}");
            break;
        }
    }
    for count in 0..=ROWS.len() {
        assert!(
            survived.contains(&count),
            "no crash left {count} rows migrated"
        );
    }
}
