//! What a broker says about a Redis that may forget which refresh tokens were redeemed.

use testkit::{
    broker_process::BrokerProcess,
    deployment::Deployment,
    launch::Launch,
    sentinel::{Options, Sentinels},
};

const NO_LOG: &str = "appendonly isn't set";
const REPLICAS: &str = "durability is primary, Redis has replicas";

/// Returns what a broker logs with this setting for the rotation of its provider.
async fn log(redis: &impl Deployment, rotation: &str) -> String {
    let dir = tempfile::TempDir::new().unwrap();
    let config = format!(
        "[providers.idp]\ntoken-endpoint = \"https://idp.example/token\"\nclient-id = \"c\"\n\
         client-authentication = \"none\"\nrotation = \"{rotation}\"\n"
    );
    let file = dir.path().join("broker.toml");
    std::fs::write(&file, config).unwrap();
    let settings = redis.settings();
    let mut args: Vec<_> = settings
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect();
    args.extend([
        "--backend=redis".to_owned(),
        format!("--config={}", file.display()),
    ]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let broker = BrokerProcess::start(&args);
    broker.serving().await;
    broker.ended().await.log
}

#[tokio::test]
async fn a_broker_warns_if_a_provider_rotates() {
    let without_a_log = Launch::default().start();
    assert!(log(&without_a_log, "strict").await.contains(NO_LOG));
    assert!(!log(&without_a_log, "none").await.contains(NO_LOG));
    let with_a_log = Launch::default().lines(["appendonly yes"]).start();
    let said = log(&with_a_log, "grace\"\ngrace = \"1m").await;
    assert!(!said.contains(NO_LOG) && !said.contains(REPLICAS), "{said}");
    let sentinels = Sentinels::start(&Options::default());
    sentinels.settled().await;
    assert!(log(&sentinels, "strict").await.contains(REPLICAS));
}
