//! Tests `keys rotate` under load: two brokers refresh, carry over, store and read, and one of them doesn't have the new key yet.

mod callers;
mod crowd;
mod figures;
mod rollout;

use std::{cell::Cell, env};

use testkit::{
    rows::{access_token, refresh_token},
    waiting::until,
};

use self::{
    callers::{Kind, of},
    crowd::{Called, Crowd},
    figures::{Passed, Span},
    rollout::{Rollout, SHARE},
};
use crate::rotation::by_key;

/// The program that rotates is killed on the way, and begun again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_under_load_that_is_killed_on_the_way() {
    let rows: usize = env::var("SEAL_ROWS").map_or(2_000, |count| count.parse().unwrap());
    let rollout = Rollout::start(rows).await;
    let crowd = Crowd::begin(&rollout.world);
    let alone = Span::begin(&rollout.redis);
    crowd.has_called().await;
    let alone = alone.end();

    let mut killed = rollout.rotating().spawn().unwrap();
    until("some rows are sealed", async || rollout.sampled() > 10).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(rollout.sampled() < 200, "killed too late to show anything");

    let before = rollout.world.at.tally().redemptions;
    let (report, meanwhile) = rollout.rotate().await;
    let refreshed = rollout.world.at.tally().redemptions - before;
    let called = crowd.end().await;
    let resealed = report["done"]["resealed"].as_u64().unwrap();
    assert!(resealed > 0, "{report}");
    assert!(refreshed > 0, "nothing was refreshed meanwhile");
    let (seconds, passes) = (meanwhile.seconds(), &report["done"]["passes"]);
    let per_second = resealed as f64 / seconds;
    println!(
        "{resealed} of {rows} rows sealed again in {seconds:.1} s ({per_second:.0} rows/s) and {passes} passes, {refreshed} refreshed meanwhile"
    );
    tell(&called, &alone, &meanwhile);

    assert_eq!(by_key(&rollout.tenant), [("new".to_owned(), rows)].into());
    each_token_was_redeemed_once(&rollout).await;
    no_write_was_undone(&rollout, &called).await;
    assert_eq!(by_key(&rollout.tenant), [("new".to_owned(), rows)].into());
    rollout.tenant.audit();
}

/// Prints what the rotation cost others. That it takes no more of the time of Redis than it may is shown by `rotation`.
fn tell(called: &Called, alone: &Passed, meanwhile: &Passed) {
    let Called { ahead, behind, .. } = called;
    for (what, times) in [
        ("reads", &called.reads),
        ("access tokens of both", &ahead.served),
        ("access tokens without the new key", &behind.served),
    ] {
        println!("{what} before: {}", alone.calls(times));
        println!("{what} meanwhile: {}", meanwhile.calls(times));
    }
    println!(
        "callers that waited in vain for a token that couldn't be written: {} with both keys, {} without the new one",
        ahead.waiting, behind.waiting
    );
    let (before, now) = (100.0 * alone.busy(), 100.0 * meanwhile.busy());
    println!(
        "Redis was busy {before:.1}% of the time before, and {now:.1}% meanwhile, of which the rotation may take {SHARE}%"
    );
}

/// Gives the broker that was without the new key that key. It writes what it couldn't write, so that each row has the last refresh
/// token of its login.
async fn each_token_was_redeemed_once(rollout: &Rollout) {
    let (mut redemptions, mut waited) = (0, 0);
    for number in rollout.logins.keys() {
        waited += usize::from(rollout.redeemed(*number).await.is_none());
    }
    println!("{waited} results couldn't be written before the broker had the key");
    rollout.catch_up();
    for number in rollout.logins.keys() {
        let count = Cell::new(None);
        until("the row has the last refresh token", async || {
            count.set(rollout.redeemed(*number).await);
            count.get().is_some()
        })
        .await;
        redemptions += count.get().unwrap();
    }
    let (tally, revoked) = (rollout.world.at.tally(), rollout.world.at.revoked());
    assert_eq!(
        (tally.requests, tally.redemptions),
        (redemptions, redemptions)
    );
    assert_eq!((tally.repeats, tally.replays, revoked), (0, 0, 0));
}

/// Each row is as it was written last, and has the version that its writer was told.
async fn no_write_was_undone(rollout: &Rollout, called: &Called) {
    let Called {
        stored, carried, ..
    } = called;
    assert!(stored.len() > 1 && carried.len() > 1);
    let missing = (called.not_read, called.not_carried, called.behind.missing);
    let is_any_zero = [missing.0, missing.1, missing.2].contains(&0);
    assert!(!is_any_zero, "nobody was without the key: {missing:?}");
    for number in 0..rollout.world.rows {
        let found = rollout.world.ahead.read(&of(number)).await.unwrap();
        match stored.get(&number).or(carried.get(&number)) {
            Some((token, version)) => {
                let now = (access_token(&found.row), found.version);
                assert_eq!(now, (&**token, *version), "{number}");
            }
            None if Kind::of(number).is_refreshed() => {}
            None => rollout.world.is_as_before(number, &found),
        }
        if Kind::of(number) == Kind::Carried {
            assert_eq!(refresh_token(&found.row), format!("refresh-at-{number}"));
        }
    }
}
