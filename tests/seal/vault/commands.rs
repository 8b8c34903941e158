//! The commands that make and keep keys that Vault wraps, and the settings.

use std::{fs, process::Output};

use testkit::{
    broker_process::{output, program},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    sealing,
};
use token_broker::seal::MasterKey;

use super::{Files, Mode, VaultServer};
use crate::commands::told;

async fn run(args: &[&str], more: &[String]) -> Output {
    let mut command = program();
    command.args(args).args(more);
    output(command).await
}

#[tokio::test]
async fn a_key_is_made_by_vault_and_wrapped_again_after_a_rotation() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    let args = files.args(&vault);
    let out = files.text("keys");
    // The file that the settings name isn't there yet.
    let made = run(
        &["keys", "generate", "--wrap", "--id", "k1", "--out", &out],
        &args,
    )
    .await;
    assert_eq!(made.status.code(), Some(0), "{}", told(&made));
    let line = fs::read_to_string(files.path("keys")).unwrap();
    assert!(line.starts_with("k1 vault:v1:"), "{line}");
    let head = vault.received().pop().unwrap().head;
    assert!(
        head.starts_with("POST /v1/transit/datakey/wrapped/broker "),
        "{head}"
    );
    let plain = vault.plain();
    assert!(!line.contains(&plain[0]));

    // A comment, a wrapped key and a plain one.
    files.write(
        "keys",
        &format!("# kept\n{line}\n{}", sealing::file(&["k2"])),
    );
    vault.rotate("transit/broker");
    let rewrapped = run(&["keys", "rewrap"], &args).await;
    assert_eq!(rewrapped.status.code(), Some(0), "{}", told(&rewrapped));
    let text = String::from_utf8(rewrapped.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (4, "# kept", ""));
    assert!(
        lines[1].starts_with("k1 vault:v2:") && lines[3].starts_with("k2 vault:v2:"),
        "{text}"
    );
    // They are the same keys, and open when the old version is gone.
    vault.decrypt_from("transit/broker", 2);
    files.write("keys", &text);
    let keys = files.keys(files.options(&vault));
    keys.unlock().await.unwrap();
    let ring = keys.ring();
    let names: Vec<_> = ring.ids().map(|id| id.name()).collect();
    assert_eq!(names, ["k1", "k2"]);
    let unwrapped = vault.plain();
    let [.., first, second] = &unwrapped[..] else {
        panic!("{} keys", unwrapped.len());
    };
    assert_eq!(first, &plain[0]);
    let line = MasterKey::line(&sealing::key("k2")).to_vec();
    assert_eq!(format!("k2 {second}\n").as_bytes(), line);

    let again = run(&["keys", "rewrap", "--out", &out], &args).await;
    assert_eq!(again.status.code(), Some(3), "{}", told(&again));
    vault.behave(Mode::Fails(403, "permission denied"));
    for command in [&["keys", "rewrap"][..], &["keys", "generate", "--wrap"]] {
        let refused = run(command, &args).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            told(&refused).contains("Vault denies permission"),
            "{}",
            told(&refused)
        );
        assert!(refused.stdout.is_empty());
    }
}

/// The new file must have the same keys as the old one, and none of them plain.
#[tokio::test]
async fn a_file_is_wrapped_again_with_proof_and_without_plain_keys_in_comments() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    let args = files.args(&vault);
    let (wrapped, _) = vault.wrap("transit/broker");
    let old = sealing::file(&["old"]);
    let (_, secret) = old.trim().split_once(' ').unwrap();
    let text = format!(
        "# kept\n#{old}# old: {old}w {wrapped}\n{}#{}\n",
        sealing::file(&["k"]),
        old.trim()
            .replace(&secret[20..], &format!(" {}", &secret[20..])),
    );
    files.write("keys", &text);
    let out = files.text("new");
    let rewrap = async |more: &[&str]| {
        let args = [
            &args[..],
            &more.iter().map(|&more| more.to_owned()).collect::<Vec<_>>(),
        ]
        .concat();
        run(&["keys", "rewrap", "--out", &out], &args).await
    };
    vault.behave(Mode::WrapsAnother);
    let another = rewrap(&[]).await;
    assert_eq!(another.status.code(), Some(1), "{}", told(&another));
    assert!(
        told(&another).contains("w: what it was wrapped to opens to something else"),
        "{}",
        told(&another)
    );
    // Of a plain key, too.
    files.write("keys", &sealing::file(&["k"]));
    let another = rewrap(&[]).await;
    assert!(
        told(&another).contains("k: what it was wrapped to opens to something else"),
        "{}",
        told(&another)
    );
    files.write("keys", &text);
    vault.behave(Mode::NoDecrypt);
    let denied = rewrap(&[]).await;
    assert_eq!(denied.status.code(), Some(1), "{}", told(&denied));
    assert!(told(&denied).contains("--unproven"), "{}", told(&denied));
    assert!(!files.path("new").exists());

    let unproven = rewrap(&["--unproven"]).await;
    assert_eq!(unproven.status.code(), Some(0), "{}", told(&unproven));
    assert!(
        told(&unproven).contains("nobody proved"),
        "{}",
        told(&unproven)
    );
    fs::remove_file(files.path("new")).unwrap();
    vault.behave(Mode::Works);
    let proven = rewrap(&[]).await;
    assert_eq!(proven.status.code(), Some(0), "{}", told(&proven));
    for line in ["line 2:", "line 3:", "line 6:"] {
        assert!(told(&proven).contains(line), "{}", told(&proven));
    }
    let text = fs::read_to_string(files.path("new")).unwrap();
    // Whole, or a part of it.
    assert!(!text.contains(&secret[..20]), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (6, "# kept"));
    assert!(
        lines[3].starts_with("w vault:") && lines[4].starts_with("k vault:"),
        "{text}"
    );
    assert!(
        lines[1].starts_with("# (") && lines[2] == lines[1],
        "{text}"
    );
}

#[tokio::test]
async fn status_needs_vault_and_says_when_it_is_away() {
    let (vault, files, redis) = (
        VaultServer::start().await,
        Files::new(),
        RedisServer::start(),
    );
    let tenant = RedisTenant::on(&redis);
    let (wrapped, _) = vault.wrap("transit/broker");
    files.write("keys", &format!("k1 {wrapped}\n"));
    let mut args = files.args(&vault);
    let name = tenant.name().to_string();
    let patient = ["--redis-timeout", "10s"];
    args.extend(["--redis-url", &redis.url(), "--tenant", &name].map(str::to_owned));
    args.extend(patient.map(str::to_owned));
    let status = run(&["keys", "status", "--report", "json"], &args).await;
    assert_eq!(status.status.code(), Some(0), "{}", told(&status));
    let report: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(
        report["sealing"].as_str().unwrap().starts_with("k1."),
        "{report}"
    );
    vault.behave(Mode::Fails(503, "Vault is sealed"));
    let status = run(&["keys", "status"], &args).await;
    assert_eq!(status.status.code(), Some(1));
    assert!(
        told(&status).contains("k1: Vault is sealed"),
        "{}",
        told(&status)
    );
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    let (wrapped, _) = vault.wrap("transit/broker");
    files.write("keys", &format!("k1 {wrapped}\n"));
    files.write("other", "k1 aws:AAAA\n");
    let (keys, other, token) = (files.text("keys"), files.text("other"), files.text("token"));
    let (url, address) = (vault.url(), "--vault-address");
    let full = [
        address,
        &url,
        "--vault-key",
        "broker",
        "--vault-token-file",
        &token,
    ];
    for (args, expected) in [
        (
            vec!["--seal-keys", &keys],
            "seal-keys: line 1: the key is wrapped: set vault-address",
        ),
        (
            vec![address, &url, "--vault-token-file", &token],
            "vault-key: must be set with vault-address",
        ),
        (
            vec!["--vault-key", "broker"],
            "vault-key: has no effect without vault-address",
        ),
        (
            vec![address, &url, "--vault-key", "broker"],
            "vault-token-file: must be set for vault-auth = token",
        ),
        (
            vec![
                address,
                &url,
                "--vault-key",
                "broker",
                "--vault-auth",
                "kubernetes",
            ],
            "vault-role: must be set for vault-auth = kubernetes",
        ),
        (
            vec![
                address,
                &url,
                "--vault-key",
                "broker",
                "--vault-auth",
                "approle",
            ],
            "vault-secret-id-file: must be set for vault-auth = approle",
        ),
        (
            vec![address, "http://vault.example:8200"],
            "vault-address: must begin with https://",
        ),
        (
            vec![address, "https://vault.example/v1"],
            "vault-address: must be a URL without a path",
        ),
        (
            [&full[..], &["--vault-key", "../broker"]].concat(),
            "--vault-key",
        ),
        (
            [&full[..], &["--vault-mount", "a/../b"]].concat(),
            "vault-mount: must be made of",
        ),
        (
            [&full[..], &["--vault-ca", &token]].concat(),
            "vault-ca: the file holds no certificate",
        ),
        (
            [&full[..], &["--seal-keys", &other]].concat(),
            "line 1: a wrapped key begins with vault:",
        ),
    ] {
        let mut all = vec!["--check-config"];
        all.extend(args);
        let checked = run(&all, &[]).await;
        assert_eq!(checked.status.code(), Some(2), "{all:?}");
        assert!(
            told(&checked).contains(expected),
            "{all:?}: {}",
            told(&checked)
        );
    }
    let fine = [&["--check-config", "--seal-keys", &keys][..], &full].concat();
    let checked = run(&fine, &[]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", told(&checked));
    assert!(
        vault.received().is_empty(),
        "--check-config connects to nothing"
    );
}
