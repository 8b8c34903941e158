//! `deploy/hardened/broker.toml` with the lines of `vault.toml`, as `docs/hardening.md` describes them, with paths and addresses of
//! the test.

use std::fs;

use testkit::{
    authority::{Authority, Wanted},
    broker_process::{output, program},
    certificates::Certificates,
    hardened::{self, Site},
    private_file::write_private,
    waiting::until,
};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Files, VaultServer};

/// The line of `broker.toml` that those of `vault.toml` replace.
const REPLACED: &str = "seal-keys = \"/run/token-broker/seal/keys\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hardened_configuration_has_its_keys_unwrapped() {
    let (files, site) = (Files::new(), Site::start());
    Certificates::shared().write_to(files.0.path());
    let vault = VaultServer::start_with_tls(files.0.path()).await;
    vault.rotate("transit/token-broker");
    vault.live_in("platform/tokens");
    vault.know(&[]);
    files.write("jwt", "jwt");
    let run = site.lay_out();
    fs::remove_file(run.join("seal/keys")).unwrap();
    let identity = Authority::new("server ca").sign(&Wanted::server());
    write_private(&run.join("tls/tls.crt"), &identity.certificate);
    write_private(&run.join("tls/tls.key"), &identity.key);
    let domain = Authority::new("prod.example").pem;
    write_private(&run.join("spiffe/prod.example.pem"), domain);
    let ca = fs::read(files.path("ca.pem")).unwrap();
    write_private(&run.join("vault/ca.pem"), ca);

    let broker = hardened::text("broker.toml");
    assert!(broker.contains(REPLACED), "{broker}");
    let config = broker.replace(REPLACED, &hardened::text("vault.toml"));
    let policy = hardened::file("policy.toml").to_str().unwrap().to_owned();
    let replaced = [
        ("https://vault.internal:8200", vault.url()),
        ("/var/run/secrets/tokens/vault", files.text("jwt")),
        ("/etc/token-broker/policy.toml", policy),
        ("/run/token-broker", run.to_str().unwrap().to_owned()),
    ];
    let config = site.placed(&config, &replaced);
    files.write("config", &config);
    let path = files.text("config");
    let mut made = program();
    made.args(["keys", "generate", "--wrap", "--config", &path, "--out"]);
    made.arg(run.join("seal/keys"));
    let made = output(made).await;
    assert!(made.status.success(), "{made:?}");

    let running = site.run(&config);
    let health = format!("http://{}", running.logged_address("health_address"));
    let health = Endpoint::from_shared(health).unwrap().connect().await;
    let health = HealthClient::new(health.unwrap());
    until("it serves", || {
        let mut health = health.clone();
        async move {
            let asked = health.check(HealthCheckRequest::default()).await;
            asked.unwrap().into_inner().status() == ServingStatus::Serving
        }
    })
    .await;
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
