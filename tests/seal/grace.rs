//! Tests that nothing is sealed in the grace period, and nothing written plain otherwise.

use std::{process::Stdio, time::Duration};

use testkit::{
    broker::request,
    broker_process::{BrokerProcess, output, program},
    private_file::write_private,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::{key, row},
    sealing,
    waiting::found_within,
};
use token_broker::{
    error::Error,
    store::redis::maintenance::{progress::Silent, reseal::Reseal},
};

use crate::{args_of, sealed_with, tenant, text};

#[tokio::test]
async fn nothing_is_sealed_in_the_grace_period_that_begins_later() {
    let tenant = tenant();
    let broker = tenant.sealed_broker(&["k"]);
    let at = key("s", "p");
    broker.put(&at, &row("u", "before")).await;
    let plain = tenant.broker();
    plain.put(&key("s", "plain"), &row("u", "plain")).await;

    tenant.run::<()>(&["SET", &tenant.key("broker:grace"), "1"]);
    let before = tenant.snapshot();
    let refused = broker.store(request(&at, &row("u", "later"))).await;
    match refused {
        Err(error @ Error::StoreUnavailable(_)) => {
            let detail = error.operator_detail().unwrap();
            assert!(detail.contains("migrate --finish"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    let reseal = Reseal::new(
        &tenant.store(),
        sealing::sealing(tenant.name(), &["new", "k"]),
    );
    let error = reseal.run(&Silent).await.unwrap_err();
    assert!(error.detail().contains("grace period"), "{error}");
    assert!(tenant.snapshot() == before, "something was written");
    // What is sealed already can be read, and plain rows are written as ever.
    assert!(broker.read(&at).await.is_some());
    plain.put(&key("s", "plain"), &row("u", "again")).await;

    tenant.run::<()>(&["DEL", &tenant.key("broker:grace")]);
    broker.put(&at, &row("u", "after")).await;
    assert_eq!(sealed_with(&tenant, &at).as_deref(), Some("k"));
}

/// Where no migration is noted, nobody knows who else writes.
#[tokio::test]
async fn nothing_is_sealed_before_the_migration_is_noted() {
    let tenant = tenant();
    let broker = tenant.sealed_broker(&["k"]);
    tenant.run::<()>(&["DEL", &tenant.key("broker:migration")]);
    let refused = broker.store(request(&key("s", "p"), &row("u", "at"))).await;
    assert!(
        matches!(refused, Err(Error::StoreUnavailable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_start_with_keys_is_refused_in_the_grace_period_and_works_after_it() {
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
    tenant.run::<()>(&["SET", &tenant.key("broker:grace"), "1"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    write_private(&file, sealing::file(&["k"]));
    let [url, timeout, name] = &args_of(&tenant, &redis);
    let settings = [url, timeout, name, "--seal-keys", file.to_str().unwrap()];
    let mut start = program();
    start
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(settings)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut started = start.spawn().unwrap();
    // A broker that starts all the same would never end.
    let patience = Duration::from_secs(60);
    let ended = found_within(patience, "the start is refused", || {
        started.try_wait().unwrap()
    });
    if tokio::time::timeout(patience / 3, ended).await.is_err() {
        started.kill().unwrap();
    }
    let refused = started.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(
        told.contains("seal-keys: ") && told.contains("migrate --finish"),
        "{told}"
    );

    // Nor is a period begun where rows are sealed.
    let mut begin = program();
    begin.args(["migrate", "--begin-grace"]).args(settings);
    assert_eq!(output(begin).await.status.code(), Some(3));

    let mut finish = program();
    finish.args(["migrate", "--finish"]).args(settings);
    assert_eq!(output(finish).await.status.code(), Some(0));
    let broker = BrokerProcess::start(&settings);
    tokio::time::timeout(Duration::from_secs(20), broker.serving())
        .await
        .unwrap();
}

/// A mapping of older data that is new begins a grace period, which would stop all brokers that seal. Who has keys begins none.
#[tokio::test]
async fn a_start_that_is_refused_begins_no_grace_period() {
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
    let sealing = tenant.sealed_broker(&["k"]);
    sealing.put(&key("s", "p"), &row("u", "before")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    write_private(&file, sealing::file(&["k"]));
    let [url, timeout, name] = &args_of(&tenant, &redis);
    let settings = [url, timeout, name, "--seal-keys", file.to_str().unwrap()];
    let mapping = ["--legacy-provider", "oidc=p"];
    for (command, code) in [
        (&["serve", "--listen", "127.0.0.1:0"][..], 3),
        (&["migrate"], 3),
    ] {
        let mut run = program();
        run.args(command).args(settings).args(mapping);
        let output = tokio::time::timeout(Duration::from_secs(30), output(run)).await;
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains("seal-keys: "), "{told}");
        let is_grace: bool = tenant.run(&["EXISTS", &tenant.key("broker:grace")]);
        assert!(!is_grace, "{command:?}");
        sealing.put(&key("s", "p"), &row("u", "after")).await;
    }
}

#[tokio::test]
async fn with_a_key_nothing_is_written_plain() {
    let tenant = tenant();
    let (plain, sealing) = (tenant.broker(), tenant.sealed_broker(&["k"]));
    let at = key("s", "p");
    plain.put(&at, &row("u", "planted-token")).await;
    assert!(text(&tenant, &at).contains("planted-token"), "the control");
    // Carry-forward reads the plain row, and seals what it writes.
    let mut next = row("u", "planted-next");
    next.refresh_token = None;
    sealing.put_carrying(&at, &next).await;
    let written = text(&tenant, &at);
    assert!(!written.contains("planted"), "{written}");
    let read = sealing.read(&at).await.unwrap();
    assert_eq!(
        testkit::rows::refresh_token(&read.row),
        "refresh-planted-token"
    );
}
