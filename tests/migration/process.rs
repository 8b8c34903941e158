//! Tests the migration with the program itself: killed at every step, several at once, its exit
//! codes, and where it prints what.

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
};

use testkit::broker_process::program;
use testkit::resp_proxy::{Fate, RespProxy};
use tokio::sync::Notify;

use crate::{
    old_tenant::{OldTenant, P, old_json},
    seed::{MAPPING, ROWS, assert_whole, seed},
};

/// Returns a command that runs `token-broker migrate` on the Redis or proxy at `port`.
fn migrate(port: u16, more: &[&str]) -> Command {
    let mut command = program();
    command
        .args(["migrate", "--backend", "redis", "--tenant", "ns:name"])
        .args(["--redis-url", &format!("redis://127.0.0.1:{port}/")])
        .args(["--report", "json", "--log-level", "trace"])
        .args(MAPPING.iter().flat_map(|pair| ["--legacy-provider", pair]))
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn output(mut command: Command) -> Output {
    let done = tokio::task::spawn_blocking(move || command.output());
    done.await.unwrap().expect("the program runs")
}

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Kills the program right before its `at`th command reaches Redis. Returns whether the program had
/// ended before.
async fn kill(tenant: &OldTenant, at: usize) -> bool {
    let (reached, killed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (reaches, dead) = (Arc::clone(&reached), Arc::clone(&killed));
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let (reaches, dead) = (Arc::clone(&reaches), Arc::clone(&dead));
        async move {
            if command.number != at {
                return Fate::Forward;
            }
            reaches.notify_one();
            dead.notified().await;
            Fate::CutBefore
        }
    })
    .await;
    let mut child = migrate(proxy.port(), &["--redis-connections", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let ended = tokio::select! {
        () = reached.notified() => false,
        () = async {
            while child.try_wait().unwrap().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        } => true,
    };
    if ended {
        assert!(child.wait().unwrap().success());
        return true;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    killed.notify_one();
    proxy.cut().await;
    false
}

#[tokio::test]
async fn m5_killed_at_every_step() {
    let tenant = OldTenant::new().await;
    let mut survived = Vec::new();
    for at in 1.. {
        tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
        seed(&tenant).await;
        let before = tenant.snapshot_of_all();
        let ended = kill(&tenant, at).await;
        let migrated = assert_whole(&before, &tenant.snapshot_of_all());
        survived.push(migrated);

        // The lease of the killed run would expire, but this test doesn't wait for that.
        tenant
            .cmd::<()>("DEL", &[format!("{P}broker:migration:lease")])
            .await;
        let next = output(migrate(tenant.redis.port(), &[])).await;
        assert_eq!(next.status.code(), Some(0));
        let moved = report(&next)["rows"]["migrated"].as_u64().unwrap();
        assert_eq!(usize::try_from(moved).unwrap(), ROWS.len() - migrated);
        assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
        if ended {
            break;
        }
    }
    for count in 0..=ROWS.len() {
        assert!(survived.contains(&count), "no kill left {count} migrated");
    }
}

#[tokio::test]
async fn m5_several_at_once() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    for n in 0..1_000 {
        let json = old_json("oidc", "u", &n.to_string());
        tenant.old_row(&format!("m{n}"), &json, "u", None).await;
    }
    let before = tenant.snapshot_of_all();
    let port = tenant.redis.port();
    let running: Vec<_> = (0..3)
        .map(|_| tokio::spawn(output(migrate(port, &[]))))
        .collect();
    let mut moved = 0;
    for running in running {
        let output = running.await.unwrap();
        assert_eq!(output.status.code(), Some(0));
        moved += report(&output)["rows"]["migrated"].as_u64().unwrap();
    }
    assert_eq!(moved, 1_000 + ROWS.len() as u64, "each row is moved once");
    assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
}

#[tokio::test]
async fn m6_exit_codes_and_where_keys_are_named() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    let port = tenant.redis.port();
    for more in [
        &["--dry-run"][..],
        &["--finish"],
        &[],
        &["--finish", "--allow-unmigrated"],
    ] {
        tenant
            .set(&format!("{P}upstream:secret-session"), "{")
            .await;
        let output = output(migrate(port, more)).await;
        let allowed = more.contains(&"--allow-unmigrated");
        assert_eq!(
            output.status.code(),
            Some(if allowed { 0 } else { 3 }),
            "{more:?}"
        );
        let failed = &report(&output)["failed"];
        assert_eq!(failed[0]["key"], format!("{P}upstream:secret-session"));
        assert!(
            failed[0]["reason"]
                .as_str()
                .unwrap()
                .contains("not a JSON object")
        );
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(
            !log.contains("secret-session") && !log.contains("upstream:"),
            "{log}"
        );
        assert!(
            log.contains("corrupt") || more.contains(&"--dry-run"),
            "{log}"
        );
        let grace = tenant.exists(&format!("{P}broker:grace")).await;
        assert_eq!(grace, !allowed && !more.contains(&"--dry-run"));
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_a_failure() {
    let port = testkit::redis_server::free_port();
    let output = output(migrate(port, &["--redis-connect-timeout", "200ms"])).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}
