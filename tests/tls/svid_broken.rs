//! Updates of the Workload API that are broken, wholly or in part.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use testkit::{
    authority::{Authority, Identity, Wanted},
    waiting::until,
    workload_api::Gift,
};
use tonic::Code;

use crate::spiffe::{ID, Spiffe, broker_svid};

/// Whatever is wrong with an update, the broker goes on with what it had, and the log says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn updates_that_are_broken_change_nothing() {
    let spiffe = Spiffe::start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let before = spiffe.shown().await;
    let (good, other) = (broker_svid(&spiffe.prod), broker_svid(&spiffe.prod));
    let mixed = Identity {
        key: other.key.clone(),
        ..good.clone()
    };
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let expired = Wanted::server()
        .uri(ID)
        .valid(past, past + Duration::from_secs(1));
    let expired = spiffe.prod.sign(&expired);
    let foreign = Wanted::server().uri("spiffe://prod.test/other");
    let foreign = spiffe.prod.sign(&foreign);
    let nameless = spiffe.prod.sign(&Wanted::server());
    let svid = |identity: &Identity| {
        Gift::default()
            .svid(ID, identity, &[&spiffe.prod])
            .federated("partner.test", &[&spiffe.partner])
    };
    let broken = [
        ("the key isn't that of the certificate", svid(&mixed)),
        ("the certificate has expired", svid(&expired)),
        ("its certificate isn't for its id", svid(&foreign)),
        ("its certificate isn't for its id", svid(&nameless)),
        (
            "the broker's SVID: it holds a damaged certificate",
            svid(&good).with_certificate(b"0123456789"),
        ),
        (
            "the broker's SVID: it holds no certificate",
            svid(&good).with_certificate(b""),
        ),
        ("the broker's SVID: the agent gives none", Gift::default()),
        (
            "the agent gives none whose id is a workload's",
            Gift::default().svid("spiffe://prod.test", &good, &[&spiffe.prod]),
        ),
    ];
    for (told, gift) in broken {
        spiffe.agent.gives(gift);
        spiffe.logs(told).await;
        assert_eq!(spiffe.shown().await, before, "{told}");
        spiffe.serves("spiffe://prod.test/proxy").await.unwrap();
        spiffe.serves("spiffe://partner.test/proxy").await.unwrap();
    }
    // Two of them are told in the same words.
    let failed = r#"token_broker_reloads_total{what="certificates",outcome="failed"} "#;
    let counted = async || spiffe.process.metric(failed) == Some(7);
    until("each is counted", counted).await;
    spiffe.agent.gives(spiffe.gift());
    until("the good one is in force", || async {
        spiffe.shown().await != before
    })
    .await;
}

/// Each part of an update counts by itself: a domain loses its rights, whatever is wrong with the certificate that comes along
/// or with the bundle of another domain. A bundle that is broken keeps what it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_good_in_a_broken_update_counts() {
    let spiffe = Spiffe::start(&[]).await;
    let before = spiffe.shown().await;
    let good = broker_svid(&spiffe.prod);
    // The certificate is damaged, and the partner is gone.
    let gone = Gift::default()
        .svid(ID, &good, &[&spiffe.prod])
        .with_certificate(b"0123456789");
    spiffe.agent.gives(gone);
    until("the partner isn't served", || async {
        spiffe.serves("spiffe://partner.test/proxy").await.is_err()
    })
    .await;
    assert_eq!(spiffe.shown().await, before);
    spiffe.serves("spiffe://prod.test/proxy").await.unwrap();

    // What has no name that can be one counts for nothing, and keeps nothing else from counting.
    let odd = Gift::default()
        .svid(ID, &good, &[&spiffe.prod])
        .federated("Not A Domain", &[&spiffe.partner])
        .federated("partner.test", &[&spiffe.partner]);
    spiffe.agent.gives(odd);
    until("the partner is served again", async || {
        spiffe.serves("spiffe://partner.test/proxy").await.is_ok()
    })
    .await;

    // The bundle of the broker's own domain is empty. The certificate and the other domain are good.
    let next = Authority::new("partner");
    let empty = Gift::default()
        .svid(ID, &good, &[&spiffe.prod])
        .with_bundle(b"")
        .federated("partner.test", &[&next]);
    spiffe.agent.gives(empty);
    until("the new certificate is shown", || async {
        spiffe.shown().await != before
    })
    .await;
    spiffe
        .logs("the bundle of prod.test: it holds no certificate")
        .await;
    spiffe.serves("spiffe://prod.test/proxy").await.unwrap();
    let by_next = next.sign(&Wanted::nobody().uri("spiffe://partner.test/proxy"));
    let by_next = spiffe.config_with(&by_next);
    spiffe.serves_with(by_next).await.unwrap();
}

/// A file that changes doesn't make the broker forget what is wrong with the agent's last update.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_does_not_hide_what_the_agent_gave() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clients.pem");
    let write = |name: &str| fs::write(&file, Authority::new(name).pem).unwrap();
    write("one");
    let spiffe = Spiffe::start(&["--client-ca", file.to_str().unwrap()]).await;
    spiffe.agent.gives(Gift::default());
    let wrong = "the broker's SVID: the agent gives none";
    spiffe.logs(wrong).await;
    write("two");
    spiffe.logs("those that can be used are in force").await;
    // Whoever asks is told.
    let told = || spiffe.process.log().matches(wrong).count();
    let before = told();
    spiffe.process.signal("HUP");
    until("it is told again", async || told() > before).await;
}

/// What the agent answers instead of an update counts as one that failed: it is said once, as an error, and counted. That it is
/// asked again changes neither.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_update_counts_as_one_that_failed() {
    let spiffe = Spiffe::start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let before = spiffe.shown().await;
    let failed = || {
        let name = r#"token_broker_reloads_total{what="certificates",outcome="failed"} "#;
        spiffe.process.metric(name).unwrap()
    };
    let errors = || {
        let log = spiffe.process.log();
        let told = log
            .lines()
            .filter(|line| line.contains("what the agent answers can't be used"));
        assert!(told.clone().all(|line| line.contains("ERROR")), "{log}");
        told.count()
    };
    spiffe.agent.gives(spiffe.gift().padded(5 << 20));
    spiffe.logs("the agent sends what can't be read").await;
    until("it is counted", async || failed() == 1).await;
    spiffe.agent.gives(spiffe.gift());
    until("the agent answers again", async || {
        spiffe.shown().await != before
    })
    .await;
    let before = spiffe.shown().await;
    spiffe.agent.refuses(Code::PermissionDenied);
    spiffe.logs("PermissionDenied").await;
    until("it is counted", async || failed() == 2).await;
    // It is asked again and again, after 0.2 s and more.
    let begun = Instant::now();
    until("it was asked again", async || {
        begun.elapsed() > Duration::from_secs(2)
    })
    .await;
    assert_eq!((failed(), errors()), (2, 2));
    assert_eq!(spiffe.shown().await, before);
    spiffe.serves("spiffe://prod.test/proxy").await.unwrap();
}
