//! Brokers whose keys Vault wraps: their start, their life without Vault, and keys that change meanwhile.

use std::{
    fs,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{
    broker::{Broker, rules},
    broker_process::{BrokerProcess, program},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    requests::{store_request, tokens},
    rows::{bare, key},
    sealing,
    waiting::until,
};
use token_broker::{
    meter::{Reload, Trust},
    seal::Keys,
    store::{Sealed, Sealing, redis::RedisStore},
};

use super::{Files, Mode, VaultServer};
use crate::{sealed_with, tenant};

fn broker(tenant: &RedisTenant, keys: &Keys) -> Broker<Sealed<RedisStore>> {
    let sealing = Sealing {
        keys: keys.clone(),
        ..Sealing::off(tenant.name().clone())
    };
    Broker::new(
        Sealed::new(tenant.store(), sealing),
        rules(tenant.name().clone()),
    )
}

/// Runs a broker that is expected not to start. Returns its exit code and what it told.
async fn failing(args: Vec<String>) -> (Option<i32>, String) {
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0"]).args(args);
    let told = tempfile::NamedTempFile::new().unwrap();
    command.stdout(Stdio::null()).stderr(told.reopen().unwrap());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the broker starts");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    (status.code(), fs::read_to_string(told.path()).unwrap())
}

/// Returns where one of the texts stands in a log, however it is spelled.
fn leaked(log: &str, keys: &[String]) -> Vec<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let spellings = keys.iter().flat_map(|key| {
        let bytes = STANDARD.decode(key).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [key.clone(), hex, format!("{bytes:?}")]
    });
    spellings.filter(|text| log.contains(text)).collect()
}

/// A broker starts, seals, and goes on when Vault is gone. Another one doesn't start then. Nothing that either prints, at the
/// finest level, has the key, its wrapped text or Vault's token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_needs_vault_at_its_start_alone() {
    let (mut vault, files, redis) = (
        VaultServer::start().await,
        Files::new(),
        RedisServer::start(),
    );
    let tenant = RedisTenant::on(&redis);
    let (wrapped, plain) = vault.wrap("transit/broker");
    files.write("keys", &format!("k1 {wrapped}\n"));
    files.write("token", "canary-token-41d0");
    vault.know(&["canary-token-41d0"]);
    let mut args = files.args(&vault);
    let (url, name) = (redis.url(), tenant.name().to_string());
    args.extend(
        [
            "--redis-url",
            &url,
            "--tenant",
            &name,
            "--redis-timeout",
            "10s",
            "--log-level",
            "trace",
        ]
        .map(str::to_owned),
    );
    let started: Vec<_> = args.iter().map(String::as_str).collect();
    let running = BrokerProcess::start(&started);
    running.serving().await;
    assert_eq!(vault.received().len(), 1);

    vault.behave(Mode::Fails(503, "Vault is sealed"));
    let (code, told) = failing(args.clone()).await;
    assert_eq!(code, Some(1), "{told}");
    let last = told.lines().last().unwrap();
    assert!(
        last.contains("seal-keys: the wrapped key k1: Vault is sealed"),
        "{last}"
    );
    assert!(told.contains("the start waits"), "{told}");
    assert!(vault.received().len() > 2, "it wasn't asked again");
    vault.leave().await;
    let (code, gone) = failing(args).await;
    assert_eq!(code, Some(1), "{gone}");
    assert!(gone.contains("k1: Vault doesn't answer"), "{gone}");

    // The one that runs seals and opens.
    let mut client = running.client().await;
    let stored = store_request("s", "p", tokens("at-1", "u"));
    client.store(stored).await.unwrap();
    assert_eq!(sealed_with(&tenant, &key("s", "p")).as_deref(), Some("k1"));

    let log = [running.ended().await.log, told, gone].concat();
    assert!(log.len() > 1_000, "hardly anything was logged");
    let keys = [plain];
    assert_eq!(leaked(&log, &keys), [] as [String; 0]);
    assert!(!log.contains(&wrapped) && !log.contains("canary-token-41d0"));
    // The control: a log line that says too much is found.
    let leaking = format!("the key is {}", keys[0]);
    assert_eq!(leaked(&leaking, &keys).len(), 1);
}

/// Until its keys are unwrapped, a broker writes nothing, neither sealed nor plain, and takes no row for damaged.
#[tokio::test]
async fn keys_that_are_wrapped_seal_and_open_nothing() {
    let (vault, files, tenant) = (VaultServer::start().await, Files::new(), tenant());
    let (wrapped, _) = vault.wrap("transit/broker");
    files.write("keys", &format!("k1 {wrapped}\n"));
    let keys = files.keys(files.options(&vault));
    let broker = broker(&tenant, &keys);
    let at = key("s", "p");
    let request = testkit::broker::request(&at, &bare("at"));
    broker.store(request).await.unwrap_err();
    assert!(tenant.snapshot().0.is_empty(), "a row was written");
    assert_eq!(keys.to_string(), "");
    keys.unlock().await.unwrap();
    broker.put(&at, &bare("at")).await;
    assert_eq!(sealed_with(&tenant, &at).as_deref(), Some("k1"));
    assert!(keys.to_string().starts_with("k1."), "{keys}");
    assert!(!format!("{keys:?}").contains(&vault.plain()[0]));
    // The same row is opened after a restart, by the same key.
    let again = files.keys(files.options(&vault));
    again.unlock().await.unwrap();
    assert!(self::broker(&tenant, &again).read(&at).await.is_some());
}

#[tokio::test]
async fn a_start_waits_for_a_token_that_is_renewed() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    let (wrapped, _) = vault.wrap("transit/broker");
    files.write("keys", &format!("k1 {wrapped}\n"));
    vault.know(&["renewed"]);
    let keys = files.keys(files.options(&vault));
    let renewing = async {
        until("the first token was refused", async || {
            !vault.received().is_empty()
        })
        .await;
        files.write("token", "renewed");
    };
    let (unlocked, ()) = tokio::join!(keys.unlock(), renewing);
    unlocked.unwrap();
    assert!(vault.received().len() >= 2);
}

#[tokio::test]
async fn what_vault_unwraps_must_be_a_key() {
    let (vault, files) = (VaultServer::start().await, Files::new());
    let (wrapped, _) = vault.wrap("transit/broker");
    files.write("keys", &format!("k1 {wrapped}\n"));
    vault.behave(Mode::Short);
    let keys = files.keys(files.options(&vault));
    let problem = keys.unlock().await.unwrap_err().to_string();
    assert!(
        problem.contains("line 1: what Vault unwrapped isn't a key of 32 bytes"),
        "{problem}"
    );
    assert_eq!(vault.received().len(), 1, "asked again in vain");
}

/// The keys change while a broker runs: at first Vault is away, and what was stays in force.
#[tokio::test]
async fn a_new_key_is_unwrapped_by_a_broker_that_runs() {
    let (mut vault, files, tenant) = (VaultServer::start().await, Files::new(), tenant());
    let (first, _) = vault.wrap("transit/broker");
    let (second, _) = vault.wrap("transit/broker");
    files.write("keys", &format!("old {first}\n"));
    let keys = files.keys(files.options(&vault));
    keys.unlock().await.unwrap();
    let keys = sealing::followed(keys);
    let trust = Arc::new(Trust::default());
    keys.tell(&trust);
    let broker = broker(&tenant, &keys);
    let at = key("s", "p");
    vault.behave(Mode::Fails(503, "Vault is sealed"));
    files.write("keys", &format!("new {second}\nold {first}\n"));
    let reloads = trust.reloads(Reload::SealingKeys);
    until("Vault was asked in vain", async || {
        broker.put(&at, &bare("at")).await;
        reloads.failed.get() > 0
    })
    .await;
    assert_eq!(sealed_with(&tenant, &at).as_deref(), Some("old"));
    let asked = vault.received().pop().unwrap().body;
    assert!(
        asked.contains(&second),
        "the key that is known was asked for"
    );
    vault.behave(Mode::Works);
    until("the new key seals", async || {
        broker.put(&at, &bare("at")).await;
        sealed_with(&tenant, &at).as_deref() == Some("new")
    })
    .await;
    assert_eq!((reloads.done.get(), trust.sealing_keys.get()), (1, 2));
    // A key that is known needs no Vault, wherever its line stands, and neither does a plain one.
    vault.leave().await;
    let plain = sealing::file(&["plain"]);
    files.write("keys", &format!("{plain}old {first}\nnew {second}\n"));
    until("the plain key seals", async || {
        broker.put(&at, &bare("at")).await;
        sealed_with(&tenant, &at).as_deref() == Some("plain")
    })
    .await;
}

/// Two tenants, each with a file and a key of the engine of its own, as `docs/hardening.md` has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_has_keys_of_its_own() {
    let (vault, files, redis) = (
        VaultServer::start().await,
        Files::new(),
        RedisServer::start(),
    );
    vault.rotate("transit/globex");
    let (acme, _) = vault.wrap("transit/broker");
    let (globex, _) = vault.wrap("transit/globex");
    files.write("keys", &format!("acme {acme}\n"));
    files.write("globex", &format!("globex {globex}\n"));
    let config = |key: &str| {
        format!(
            "redis-url = {:?}\ntenant = \"acme:prod\"\nvault-address = {:?}\nvault-key = \"broker\"\n\
             vault-token-file = {:?}\nvault-patience = \"3500ms\"\n\
             [tenants.\"acme:prod\"]\nseal-keys = {:?}\n\
             [tenants.\"globex:prod\"]\nseal-keys = {:?}\nvault-key = {key:?}\n",
            redis.url(),
            vault.url(),
            files.text("token"),
            files.text("keys"),
            files.text("globex"),
        )
    };
    files.write("config", &config("globex"));
    let path = files.text("config");
    let running = BrokerProcess::start(&["--config", &path]);
    running.serving().await;
    let asked: Vec<_> = vault
        .received()
        .iter()
        .map(|request| request.head.clone())
        .collect();
    let has = |path: &str| asked.iter().any(|head| head.contains(path));
    assert!(
        has("/decrypt/broker ") && has("/decrypt/globex "),
        "{asked:?}"
    );
    // With the other's key, neither is served.
    files.write("config", &config("broker"));
    let (code, told) = failing(vec!["--config".to_owned(), path]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("globex: Vault's key doesn't decrypt it"),
        "{told}"
    );
}
