//! Tests that a broker which nobody calls knows the keys that its file has: the next call seals with them, and opens what other
//! brokers have sealed.

use testkit::{
    broker_process::BrokerProcess,
    private_file::write_private,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    requests::{store_request, tokens},
    rows::key,
    sealing,
    waiting::until,
};

use crate::args_of;

/// A key that is taken away after that is needed by no row. The control is a broker that looks at its file when it is called.
#[tokio::test]
async fn a_broker_that_nobody_calls_reads_its_keys_again() {
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let write = |keys: &[&str]| write_private(&file, sealing::file(keys));
    write(&["old"]);
    let [url, timeout, name] = &args_of(&tenant, &redis);
    let settings = [url, timeout, name, "--seal-keys", file.to_str().unwrap()];
    let broker = BrokerProcess::start(&settings);
    broker.serving().await;
    for (before, keys) in [&["old", "new"][..], &["new", "old"]]
        .into_iter()
        .enumerate()
    {
        write(keys);
        until("the idle broker reads its keys", async || {
            let log = broker.log();
            log.matches("the sealing keys were read again").count() > before
        })
        .await;
    }
    let stored = store_request("s", "p", tokens("at", "u"));
    broker.client().await.store(stored).await.unwrap();
    let other = tenant.sealed_broker(&["new"]);
    let row = other.read(&key("s", "p")).await;
    assert!(row.is_some(), "sealed with the new key");
}
