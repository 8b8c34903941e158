//! Tests that the other tests notice each kind of deliberate damage.

use std::panic::{AssertUnwindSafe, catch_unwind};

use testkit::{
    resp_proxy::{Command, Fate, RespProxy},
    snapshot::Life,
};
use token_broker::store::redis::maintenance::migration::progress::Silent;

use crate::{
    old_tenant::{OldTenant, P, field, old_json},
    seed::{ROWS, assert_whole, seed},
};

/// Moves a row without a script, one command after the other, and stops after `steps` commands.
async fn move_step_by_step(
    tenant: &OldTenant,
    session: &str,
    provider: &str,
    user: &str,
    steps: usize,
) {
    let (old, new) = (
        format!("{P}upstream:{session}"),
        format!("{P}upstream:{session}:{provider}"),
    );
    let Some(Life::Until(end)) = tenant.snapshot().life(&old) else {
        panic!("{old} has an end");
    };
    let end = end.to_string();
    let json = tenant
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
        &["SET", &new, &json, "PXAT", &end],
        &["SADD", &session_set, &new],
        &["PEXPIREAT", &session_set, &end],
        &["SADD", &user_set, &new],
        &["SREM", &user_set, &old],
        &["DEL", &old],
    ];
    for command in &commands[..steps] {
        tenant.cmd::<redis::Value>(command[0], &command[1..]).await;
    }
}

/// `crash` detects a move that isn't one atomic step, wherever it stops between the first and the
/// last command.
#[tokio::test]
async fn a_row_that_is_half_moved_is_noticed() {
    let tenant = OldTenant::new().await;
    let (session, _, provider, _) = ROWS[0];
    for steps in 0..=7 {
        tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
        seed(&tenant).await;
        let before = tenant.snapshot_of_all();
        move_step_by_step(&tenant, session, provider, "alice", steps).await;
        let now = tenant.snapshot_of_all();
        let checked = catch_unwind(AssertUnwindSafe(|| assert_whole(&before, &now)));
        match steps {
            // There is only the mark of the grace period, or nothing, or everything.
            0 | 1 => assert_eq!(checked.ok(), Some(0)),
            7 => assert_eq!(checked.ok(), Some(1)),
            _ => assert!(checked.is_err(), "{steps} steps"),
        }
    }
}

/// Moves a row like a script without a check would: it applies the decision to whatever the keys
/// hold.
async fn blind(tenant: &OldTenant, mut command: Command) -> Fate {
    let moves = command
        .args
        .iter()
        .any(|arg| arg.ends_with(b":upstream:s:okta"));
    if !command.name().starts_with("EVAL") || !moves {
        return Fate::Forward;
    }
    let count: usize = std::str::from_utf8(&command.args[2])
        .unwrap()
        .parse()
        .unwrap();
    // Before the row's keys comes that of the grace period, and before its digests come four arguments.
    for (key, sha) in [(4, 4), (5, 5)] {
        const SHA: &str =
            "local v = redis.call('GET', KEYS[1]); return v and redis.sha1hex(v) or ''";
        let held = [SHA.as_bytes(), b"1", &command.args[key]];
        command.args[3 + count + sha] = tenant.cmd("EVAL", &held).await;
    }
    Fate::Replace(command.args)
}

/// `races` detects a script that doesn't check what it changes: a refresh by an old replica is
/// lost, and a newer row is overwritten.
#[tokio::test]
async fn a_script_that_does_not_check_is_noticed() {
    for (key, json) in [
        ("upstream:s", old_json("oidc", "u", "refreshed")),
        (
            "upstream:s:okta",
            r#"{"provider_id":"okta","refresh_token":"rt-refreshed"}"#.to_owned(),
        ),
    ] {
        let tenant = std::sync::Arc::new(OldTenant::new().await);
        tenant
            .old_row("s", &old_json("oidc", "u", "1"), "u", None)
            .await;
        let inner = std::sync::Arc::clone(&tenant);
        let proxy = RespProxy::start(tenant.redis.port(), move |command| {
            let (tenant, json) = (std::sync::Arc::clone(&inner), json.clone());
            async move {
                if command.name().starts_with("EVAL") && command.args.len() > 10 {
                    tenant.set(&format!("{P}{key}"), &json).await;
                }
                blind(&tenant, command).await
            }
        })
        .await;
        let run = tenant
            .migration_at(proxy.port(), &["oidc=okta"])
            .run(&Silent)
            .await;
        assert_eq!(run.unwrap().rows.migrated, 1);
        let row = tenant.get(&format!("{P}upstream:s:okta")).await.unwrap();
        assert_eq!(
            field(&row, "refresh_token"),
            "rt-1",
            "the newer token is lost"
        );
    }
}
