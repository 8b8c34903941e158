//! The lines in `deploy/hardened/vault.toml`, as `docs/hardening.md` describes them, with paths and addresses of the test.

use std::{fs, path::Path};

use testkit::{
    broker_process::{BrokerProcess, program},
    certificates::Certificates,
    redis_server::RedisServer,
};

use super::{Files, VaultServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hardened_configuration_has_its_keys_unwrapped() {
    let (files, redis) = (Files::new(), RedisServer::start());
    Certificates::shared().write_to(files.0.path());
    let vault = VaultServer::start_with_tls(files.0.path()).await;
    vault.rotate("transit/token-broker");
    vault.live_in("platform/tokens");
    vault.know(&[]);
    let dir = files.0.path().join("run");
    fs::create_dir_all(dir.join("seal")).unwrap();
    fs::create_dir_all(dir.join("vault")).unwrap();
    fs::copy(files.path("ca.pem"), dir.join("vault/ca.pem")).unwrap();
    files.write("jwt", "jwt");

    let lines = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/hardened/vault.toml");
    let mut config = fs::read_to_string(lines).unwrap();
    for (theirs, ours) in [
        ("https://vault.internal:8200", &vault.url()),
        ("/var/run/secrets/tokens/vault", &files.text("jwt")),
        ("/run/token-broker", &dir.to_str().unwrap().to_owned()),
    ] {
        assert!(config.contains(theirs), "{theirs}");
        config = config.replace(theirs, ours);
    }
    config += &format!("redis-url = {:?}\nrequire-sealed = true\n", redis.url());
    files.write("config", &config);
    let path = files.text("config");
    let mut made = program();
    made.args(["keys", "generate", "--wrap", "--config", &path, "--out"]);
    made.arg(dir.join("seal/keys"));
    let made = tokio::task::spawn_blocking(move || made.output()).await;
    let made = made.unwrap().unwrap();
    assert!(made.status.success(), "{made:?}");

    let running = BrokerProcess::start(&["--config", &path]);
    running.serving().await;
    // To make the key, and to have it unwrapped: a login each time.
    let heads: Vec<_> = vault
        .received()
        .into_iter()
        .map(|request| request.head)
        .collect();
    let asked: Vec<_> = heads
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap())
        .collect();
    let login = "/v1/auth/kubernetes/login";
    assert_eq!(
        asked,
        [
            login,
            "/v1/transit/datakey/wrapped/token-broker",
            login,
            "/v1/transit/decrypt/token-broker"
        ]
    );
}
