//! Tests `keys generate` and `status`, and the key file.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Output,
    sync::Arc,
};

use testkit::{
    broker::Broker,
    broker_process::{output, program},
    private_file::write_private,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::{bare, key},
    sealing,
    waiting::until,
};
use token_broker::{
    meter::{Reload, Trust},
    seal::{KeyRing, Keys},
    store::{Sealed, Sealing},
};

use crate::{sealed_with, tenant};

async fn run(args: &[&str]) -> Output {
    let mut command = program();
    command.args(args);
    output(command).await
}

pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_key_is_printed_or_written_to_a_new_file() {
    let printed = run(&["keys", "generate"]).await;
    assert_eq!(printed.status.code(), Some(0));
    let other = run(&["keys", "generate", "--id", "k2"]).await;
    let file = [printed.stdout.clone(), other.stdout.clone()].concat();
    let ring = KeyRing::parse(&file).unwrap();
    assert_eq!(ring.ids().last().unwrap().name(), "k2");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let out = path.to_str().unwrap();
    let written = run(&["keys", "generate", "--out", out]).await;
    assert_eq!((written.status.code(), written.stdout.len()), (Some(0), 0));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&path).unwrap();
    assert!(KeyRing::parse(&before).is_ok());

    let again = run(&["keys", "generate", "--out", out]).await;
    assert_eq!(again.status.code(), Some(3), "{}", told(&again));
    assert!(!told(&again).contains("the key is"), "{}", told(&again));
    assert_eq!(fs::read(&path).unwrap(), before);
    let odd = run(&["keys", "generate", "--id", "a b"]).await;
    assert_eq!(odd.status.code(), Some(2));
}

/// A disk that is full, played by a limit on how large a file may get.
#[tokio::test]
async fn a_key_that_cannot_be_written_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("keys");
    let path = program().get_program().to_owned();
    let generate = |limit: &str| {
        let mut shell = std::process::Command::new("sh");
        let limited = format!("{limit} exec \"$0\" keys generate --out \"$1\"");
        shell.arg("-c").arg(limited).arg(&path).arg(&out);
        shell.output().unwrap()
    };
    // With a signal, which ends the process, and with an error alone.
    for limit in ["ulimit -f 0;", "trap '' XFSZ; ulimit -f 0;"] {
        let full = generate(limit);
        assert!(!full.status.success(), "{limit}");
        // Neither under its name nor under another one.
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{limit} {left:?}");
        // Nor is the key named, which doesn't exist.
        assert!(!told(&full).contains("the key is"), "{}", told(&full));
    }
    let full = generate("trap '' XFSZ; ulimit -f 0;");
    assert_eq!(full.status.code(), Some(1));
    assert!(
        told(&full).contains("the keys can't be written"),
        "{}",
        told(&full)
    );
    let written = generate("");
    assert_eq!(written.status.code(), Some(0), "{}", told(&written));
    let text = fs::read(&out).unwrap();
    let ring = KeyRing::parse(&text).unwrap();
    // What to put into seal-key-fingerprints.
    let id = ring.ids().next().unwrap().to_string();
    assert!(told(&written).contains(&id), "{}", told(&written));
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    write_private(&path, sealing::file(&["k"]));
    for (mode, is_fine) in [
        (0o600, true),
        (0o400, true),
        (0o440, true),
        (0o640, true),
        (0o644, false),
        (0o604, false),
        (0o660, false),
        (0o602, false),
        (0o777, false),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let checked = run(&["--check-config", "--seal-keys", path.to_str().unwrap()]).await;
        let told = told(&checked);
        assert_eq!(
            checked.status.code() == Some(0),
            is_fine,
            "{mode:o}: {told}"
        );
        if !is_fine {
            assert!(told.contains("seal-keys: its rights are"), "{told}");
            assert!(!told.contains(path.to_str().unwrap()), "{told}");
        }
    }
    let listed = {
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        run(&["--check-config", "--seal-keys", path.to_str().unwrap()]).await
    };
    let secret = sealing::file(&["k"]);
    let (_, secret) = secret.trim().split_once(' ').unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(secret));

    write_private(&path, "nothing\n");
    let broken = run(&["--check-config", "--seal-keys", path.to_str().unwrap()]).await;
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        told(&broken).contains("seal-keys: line 1"),
        "{}",
        told(&broken)
    );
    let alone = run(&["--check-config", "--require-sealed"]).await;
    assert_eq!(alone.status.code(), Some(2));
    assert!(
        told(&alone).contains("require-sealed: needs seal-keys"),
        "{}",
        told(&alone)
    );
}

#[tokio::test]
async fn status_says_what_rows_are_sealed_with() {
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    write_private(&path, sealing::file(&["new", "old"]));
    let (url, name) = (redis.url(), tenant.name().to_string());
    let status = async || {
        run(&[
            "keys",
            "status",
            "--report",
            "json",
            "--redis-url",
            &url,
            "--redis-timeout",
            "10s",
            "--tenant",
            &name,
            "--seal-keys",
            path.to_str().unwrap(),
        ])
        .await
    };
    tenant.broker().put(&key("s", "plain"), &bare("at")).await;
    tenant
        .sealed_broker(&["old"])
        .put(&key("s", "old"), &bare("at"))
        .await;
    let before = tenant.snapshot();
    let output = status().await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["counts"]["plain"], 1);
    let of = |name: &str| sealing::key(name).id().to_string();
    assert_eq!(report["counts"]["sealed"][of("old")], 1);
    assert_eq!(report["sealing"], of("new"));
    assert!(tenant.snapshot() == before, "status changed something");

    tenant
        .sealed_broker(&["lost"])
        .put(&key("s", "lost"), &bare("at"))
        .await;
    let output = status().await;
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["counts"]["key_missing"], 1);
}

fn broker(
    tenant: &RedisTenant,
    keys: &Keys,
) -> Broker<Sealed<token_broker::store::redis::RedisStore>> {
    let sealing = Sealing {
        keys: keys.clone(),
        ..Sealing::off(tenant.name().clone())
    };
    let rules = testkit::broker::rules(tenant.name().clone());
    Broker::new(Sealed::new(tenant.store(), sealing), rules)
}

/// Kubernetes swaps a symlink. Keys that are broken change nothing.
#[tokio::test]
async fn keys_are_read_again_when_their_file_changes() {
    let (tenant, dir) = (tenant(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| write_private(&dir.path().join(name), text);
    write("a", &sealing::file(&["old"]));
    write("b", "broken");
    write("c", &sealing::file(&["new", "old"]));
    let (link, next) = (dir.path().join("keys"), dir.path().join("next"));
    let swap = |name: &str| {
        symlink(dir.path().join(name), &next).unwrap();
        fs::rename(&next, &link).unwrap();
    };
    swap("a");
    let keys = sealing::followed(Keys::from_file(Path::new(&link)).unwrap());
    let trust = Arc::new(Trust::default());
    keys.tell(&trust);
    assert_eq!(trust.sealing_keys.get(), 1);
    let broker = broker(&tenant, &keys);
    let at = key("s", "p");
    broker.put(&at, &bare("at")).await;
    assert_eq!(sealed_with(&tenant, &at).as_deref(), Some("old"));
    swap("b");
    let reloads = trust.reloads(Reload::SealingKeys);
    until("the broken file is refused", async || {
        broker.put(&at, &bare("at")).await;
        reloads.failed.get() > 0
    })
    .await;
    assert_eq!(sealed_with(&tenant, &at).as_deref(), Some("old"));
    swap("c");
    until("the new key seals", async || {
        broker.put(&at, &bare("at")).await;
        sealed_with(&tenant, &at).as_deref() == Some("new")
    })
    .await;
    let names = keys
        .ring()
        .ids()
        .map(|id| id.name().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(names, ["new", "old"]);
    assert_eq!((reloads.done.get(), reloads.failed.get()), (1, 1));
    assert_eq!(trust.sealing_keys.get(), 2);
}
