//! The tests above notice damage: each kind of it, done on purpose, is caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use token_broker::store::redis::maintenance::migration::progress::Silent;

use crate::{
    resp_proxy::{Command, RespProxy, Verdict},
    seed::{ROWS, assert_whole, seed},
    world::{P, World, field, migration_on, old_json},
};

/// Moves a row as one would without a script, one command after the other, and dies after `steps`
/// of them.
async fn move_step_by_step(world: &World, session: &str, provider: &str, user: &str, steps: usize) {
    let (old, new) = (
        format!("{P}upstream:{session}"),
        format!("{P}upstream:{session}:{provider}"),
    );
    let left: String = world.cmd("PTTL", &[&old]).await;
    let json = world
        .get(&old)
        .await
        .unwrap()
        .replace("\"oidc\"", &format!("{provider:?}"));
    let (session_set, user_set) = (
        format!("{P}upstream:idx:{session}"),
        format!("{P}user:upstream:{user}"),
    );
    let commands: [&[&str]; 7] = [
        &["SET", &format!("{P}broker:grace"), "1"],
        &["SET", &new, &json, "PX", &left],
        &["SADD", &session_set, &new],
        &["PEXPIRE", &session_set, &left],
        &["SADD", &user_set, &new],
        &["SREM", &user_set, &old],
        &["DEL", &old],
    ];
    for command in &commands[..steps] {
        world.cmd::<redis::Value>(command[0], &command[1..]).await;
    }
}

/// `crash` catches an apply that isn't one step: at every step but before the first and after the
/// last.
#[tokio::test]
async fn a_row_that_is_half_moved_is_noticed() {
    let world = World::new().await;
    let (session, _, provider, _) = ROWS[0];
    for steps in 0..=7 {
        world.cmd::<()>("FLUSHALL", &["SYNC"]).await;
        seed(&world).await;
        let before = world.dump().await;
        move_step_by_step(&world, session, provider, "alice", steps).await;
        let now = world.dump().await;
        let checked = catch_unwind(AssertUnwindSafe(|| assert_whole(&before, &now)));
        match steps {
            // Only the mark of the grace period, or nothing at all, or all.
            0 | 1 => assert_eq!(checked.ok(), Some(0)),
            7 => assert_eq!(checked.ok(), Some(1)),
            _ => assert!(checked.is_err(), "{steps} steps"),
        }
    }
}

/// What a script without a check would be: it takes whatever the keys hold for what was decided on.
async fn blind(world: &World, mut command: Command) -> Verdict {
    let moves = command
        .args
        .iter()
        .any(|arg| arg.ends_with(b":upstream:s:okta"));
    if !command.name().starts_with("EVAL") || !moves {
        return Verdict::Forward;
    }
    let count: usize = std::str::from_utf8(&command.args[2])
        .unwrap()
        .parse()
        .unwrap();
    for (key, sha) in [(3, 1), (4, 2)] {
        const SHA: &str =
            "local v = redis.call('GET', KEYS[1]); return v and redis.sha1hex(v) or ''";
        let held = [SHA.as_bytes(), b"1", &command.args[key]];
        command.args[3 + count + sha] = world.cmd("EVAL", &held).await;
    }
    Verdict::Replace(command.args)
}

/// `races` catches a script that doesn't check what it changes: an old replica's refresh is lost,
/// and a newer row is overwritten.
#[tokio::test]
async fn a_script_that_does_not_check_is_noticed() {
    for (key, json) in [
        ("upstream:s", old_json("oidc", "u", "refreshed")),
        (
            "upstream:s:okta",
            r#"{"provider_id":"okta","refresh_token":"rt-refreshed"}"#.to_owned(),
        ),
    ] {
        let world = std::sync::Arc::new(World::new().await);
        world
            .old_row("s", &old_json("oidc", "u", "1"), "u", None)
            .await;
        let inner = std::sync::Arc::clone(&world);
        let proxy = RespProxy::start(world.redis.port(), move |command| {
            let (world, json) = (std::sync::Arc::clone(&inner), json.clone());
            async move {
                if command.name().starts_with("EVAL") && command.args.len() > 9 {
                    world.set(&format!("{P}{key}"), &json).await;
                }
                blind(&world, command).await
            }
        })
        .await;
        let run = migration_on(proxy.port(), &["oidc=okta"])
            .run(&Silent)
            .await;
        assert_eq!(run.unwrap().rows.migrated, 1);
        let row = world.get(&format!("{P}upstream:s:okta")).await.unwrap();
        assert_eq!(
            field(&row, "refresh_token"),
            "rt-1",
            "the newer token is lost"
        );
    }
}
