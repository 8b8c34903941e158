//! Tests passwords and certificates that change while a broker runs.

use std::fs;

use testkit::{
    certificates::Certificates,
    launch::{Launch, Program},
    redis_tenant::RedisTenant,
    rows::*,
    security::Security,
    standalone::Standalone,
    waiting::until,
};
use token_broker::store::redis::{AtFault, Peer, TlsPart};

/// The file is read at every connect, so a new password needs no restart.
#[tokio::test]
async fn a_password_changes_without_a_restart() {
    let server = Launch::default()
        .lines(["requirepass first"])
        .login("default", "first")
        .start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "first\n").unwrap();
    let url = format!("redis://127.0.0.1:{}", server.port());
    let tenant = RedisTenant::on(&server)
        .with("redis-url", &url)
        .with("redis-password-file", file.to_str().unwrap());
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;

    let mut raw = server.raw();
    let cmd = |words: &[&str]| {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd
    };
    cmd(&["CONFIG", "SET", "requirepass", "second"])
        .exec(&mut raw)
        .unwrap();
    // Open connections stay open, so the test ends them.
    cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .exec(&mut raw)
        .unwrap();
    let all = token_broker::tokens::Binding::default();
    let refused = broker.get(&key("s", "p"), &all).await.unwrap_err();
    let reason = refused.operator_detail().unwrap();
    assert!(reason.contains("redis-password-file"), "{reason}");
    assert!(!reason.contains("first"), "{reason}");

    fs::write(&file, "second\n").unwrap();
    until("the new password is used", async || {
        broker.get(&key("s", "p"), &all).await.is_ok()
    })
    .await;
}

/// Certificates are read at every connect, too.
#[tokio::test]
async fn a_certificate_changes_without_a_restart() {
    let server = Standalone::start(Program::Usual, Security::ALL);
    let dir = tempfile::tempdir().unwrap();
    Certificates::shared().write_to(dir.path());
    let file = |name: &str| dir.path().join(name);
    fs::copy(file("stranger.pem"), file("now.pem")).unwrap();
    fs::copy(file("stranger.key"), file("now.key")).unwrap();
    let tenant = RedisTenant::on(&server)
        .with("redis-tls-cert", file("now.pem").to_str().unwrap())
        .with("redis-tls-key", file("now.key").to_str().unwrap());
    let store = tenant.store();
    let refused = store.probe().await.unwrap_err();
    assert_eq!(
        refused.at_fault,
        Some(AtFault::Tls(Peer::Server, TlsPart::Certificate)),
        "{refused}"
    );

    fs::copy(file("client.pem"), file("now.pem")).unwrap();
    fs::copy(file("client.key"), file("now.key")).unwrap();
    store.probe().await.unwrap();
}
