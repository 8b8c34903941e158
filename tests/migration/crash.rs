//! M1, M5: a migrator dies at every single step. The data is whole at once, and the next one ends
//! the work.

use token_broker::store::redis::migration::progress::Silent;

use crate::{
    resp_proxy::{RespProxy, Verdict},
    seed::{MAPPING, ROWS, assert_whole, seed},
    world::{P, World, migration_on},
};

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
async fn m5_a_crash_at_every_step() {
    let world = World::new().await;
    let mut survived = Vec::new();
    for verdict in [Verdict::CutBefore, Verdict::CutAfter] {
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
            let migrated = assert_whole(&before, &world.dump().await);
            assert_eq!(migrated, ROWS.len());
            if through {
                assert!(at > 15, "a run has more commands than {at}");
                break;
            }
        }
    }
    for count in 0..=ROWS.len() {
        assert!(
            survived.contains(&count),
            "no crash left {count} rows migrated"
        );
    }
}
