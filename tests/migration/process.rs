//! Tests the migration with the program itself: killed at every step, several at once, its exit
//! codes, and where it prints what.

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
};

use testkit::broker_process::{BrokerProcess, output, program};
use testkit::resp_proxy::{Fate, RespProxy};
use testkit::waiting::until;
use tokio::sync::Notify;

use crate::{
    old_tenant::{OldTenant, P, old_json},
    seed::{MAPPING, ROWS, assert_whole, seed},
};

/// A machine under load may take long to connect.
const PATIENT: [&str; 2] = ["--redis-connect-timeout", "10s"];

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
    let mut child = migrate(proxy.port(), &PATIENT)
        .args(["--redis-connections", "1"])
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
        let next = output(migrate(tenant.redis.port(), &PATIENT)).await;
        assert_eq!(next.status.code(), Some(0));
        let moved = report(&next)["rows"]["migrated"].as_u64().unwrap();
        assert_eq!(usize::try_from(moved).unwrap(), ROWS.len() - migrated);
        assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
        if ended {
            break;
        }
    }
    // One call moves all rows. `crash` has calls that move fewer.
    survived.dedup();
    assert_eq!(survived, [0, ROWS.len()]);
}

/// What ends the program in the middle of a migration.
#[derive(Clone, Copy, Debug)]
enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, as Kubernetes sends it.
    Terminate,
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
}

/// The program ends while it waits for Redis to move a row. Returns its exit code, and for how many milliseconds its lease
/// then keeps the next run waiting, or -2 if it is given up.
async fn taken_over(end: End, serve: bool) -> (Option<i32>, i64) {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    let reached = Arc::new(Notify::new());
    let reaches = Arc::clone(&reached);
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let moves = command.args.iter().any(|arg| arg.ends_with(b":okta"));
        let reaches = Arc::clone(&reaches);
        async move {
            if moves && command.name().starts_with("EVAL") {
                reaches.notify_one();
                std::future::pending::<()>().await;
            }
            Fate::Forward
        }
    })
    .await;
    let mut command = migrate(proxy.port(), &PATIENT);
    if serve {
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let args = args
            .into_iter()
            .filter(|arg| arg != "--report" && arg != "json");
        command = program();
        command.arg("serve").args(args.skip(1));
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let child = command
        .args(["--redis-timeout", "10s", "--call-timeout", "20s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("the program runs");
    let moves = tokio::time::timeout(std::time::Duration::from_secs(20), reached.notified()).await;
    moves.expect("the program moves a row");
    match end {
        End::Kill => child.kill().unwrap(),
        End::Terminate | End::Interrupt => {
            let name = if matches!(end, End::Terminate) {
                "TERM"
            } else {
                "INT"
            };
            let kill = format!("kill -{name} {}", child.id());
            let sent = Command::new("sh").args(["-c", &kill]).status();
            assert!(sent.unwrap().success(), "{kill}");
        }
    }
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    let code = code.await.unwrap();
    // How long the next run takes is up to the machine.
    let left = tenant.pttl(&format!("{P}broker:migration:lease")).await;
    let next = output(migrate(tenant.redis.port(), &PATIENT)).await;
    assert_eq!(next.status.code(), Some(0));
    assert_eq!(report(&next)["failed"], serde_json::json!([]));
    (code, left)
}

/// Like [`taken_over`], of a program that gives up its lease. It has a second for that, which a machine under load may take.
async fn given_up(end: End, serve: bool) -> Option<i32> {
    for _ in 0..3 {
        let (code, left) = taken_over(end, serve).await;
        if left == -2 {
            return code;
        }
    }
    panic!("{end:?}: its lease is not given up");
}

/// A broker that is killed keeps the others waiting for 5 s at most. One that ends otherwise doesn't, whatever it was
/// doing.
#[tokio::test]
async fn m5_how_long_the_next_waits_for_one_that_ended() {
    let (killed, terminated, interrupted, server) = tokio::join!(
        taken_over(End::Kill, false),
        given_up(End::Terminate, false),
        given_up(End::Interrupt, false),
        given_up(End::Terminate, true),
    );
    assert!((1..=5_000).contains(&killed.1), "{killed:?}");
    assert_eq!(terminated, Some(1), "it failed");
    assert_eq!(interrupted, Some(1), "it failed");
    assert_eq!(server, Some(0), "it was stopped");
}

/// Without a grace period nobody misses the sweeps that fail while Redis is away.
#[tokio::test]
async fn only_in_the_grace_period_a_sweep_that_fails_is_warned_of() {
    let tenant = OldTenant::new().await;
    let url = tenant.redis.url();
    let start = |name: &str, more: &[&str]| {
        let args = ["--backend", "redis", "--redis-url", &url, "--tenant", name];
        let quick = ["--legacy-sweep-interval", "1s", "--log-level", "debug"];
        BrokerProcess::start(&[&args[..], &quick, more].concat())
    };
    let (with, without) = (
        start("ns:with", &["--legacy-provider", "oidc=okta"]),
        start("ns:without", &[]),
    );
    with.serving().await;
    without.serving().await;
    let told = |broker: &BrokerProcess| -> Vec<(String, String)> {
        let log = broker.log();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines = lines.filter(|line: &serde_json::Value| {
            line["fields"]["message"] == "could not look for older data"
        });
        lines
            .map(|line| {
                let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
                (text(&line["level"]), text(&line["fields"]["reason"]))
            })
            .collect()
    };
    // The first sweep has told the brokers whether there is a grace period.
    until("a sweep was made", async || {
        tenant.exists("thv:auth:{ns:with}:broker:sweep:lease").await
    })
    .await;
    tenant.redis.kill();
    until("sweeps fail", async || {
        told(&with).len() > 3 && told(&without).len() > 3
    })
    .await;
    let (lines, mut last) = (told(&with), "");
    for (level, reason) in &lines {
        // On a machine under load there may be other reasons in between.
        let is_new = reason != last;
        assert_eq!(level == "WARN", is_new, "once a reason: {lines:?}");
        last = reason;
    }
    assert!(told(&without).iter().all(|(level, _)| level == "DEBUG"));
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
        .map(|_| tokio::spawn(output(migrate(port, &PATIENT))))
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
        let output = output(migrate(port, &[more, &PATIENT].concat())).await;
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
    let port = testkit::reserved_port::ReservedPort::new();
    let waits = ["--redis-connect-timeout", "200ms"];
    let output = output(migrate(port.number(), &waits)).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}
