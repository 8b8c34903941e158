//! The broker's certificate and the authorities of trust domains, by SPIFFE's Workload API.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    authority::{Authority, Wanted},
    waiting::until,
    workload_api::Gift,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    broker::{heedless, request, served},
    spiffe::{ID, Spiffe, broker_svid},
};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Workloads of the broker's own trust domain and of a federated one are let in, each by its own bundle alone.
#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_let_in_by_the_bundles_of_their_own_domains() {
    let spiffe = Spiffe::start(&[]).await;
    spiffe.serves("spiffe://prod.test/proxy").await.unwrap();
    spiffe.serves("spiffe://partner.test/proxy").await.unwrap();
    let id = |id: &str| Wanted::nobody().uri(id);
    for (who, identity) in [
        (
            "another domain's",
            spiffe.partner.sign(&id("spiffe://prod.test/proxy")),
        ),
        (
            "of an unknown domain",
            spiffe.prod.sign(&id("spiffe://other.test/proxy")),
        ),
        (
            "without an id",
            spiffe.prod.sign(&Wanted::nobody().dns_name("a.test")),
        ),
    ] {
        let config = spiffe.config_with(&identity);
        assert!(spiffe.serves_with(config).await.is_err(), "{who}");
    }
    let log = spiffe.process.ended().await.log;
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

/// The first of several SVIDs is shown, or the one that `spiffe-id` names.
#[tokio::test(flavor = "multi_thread")]
async fn the_svid_that_the_setting_names_is_shown() {
    const OTHER: &str = "spiffe://prod.test/other";
    for (args, expected) in [(&[][..], ID), (&["--spiffe-id", OTHER][..], OTHER)] {
        let mut given = Vec::new();
        let mut spiffe = Spiffe::before_serving(args, |_, _| ());
        let first = broker_svid(&spiffe.prod);
        let second = spiffe.prod.sign(&Wanted::server().uri(OTHER));
        for (id, identity) in [(ID, &first), (OTHER, &second)] {
            let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
            given.push((id, der.to_vec()));
        }
        let gift =
            Gift::default()
                .svid(ID, &first, &[&spiffe.prod])
                .svid(OTHER, &second, &[&spiffe.prod]);
        spiffe.agent.gives(gift);
        spiffe.agent.start();
        until("it shows a certificate", || async {
            spiffe.shown().await.is_some()
        })
        .await;
        let shown = spiffe.shown().await.unwrap();
        let found = given.iter().find(|(_, der)| *der == shown);
        assert_eq!(found.map(|(id, _)| *id), Some(expected));
    }
}

/// Clients call all the time, and new ones connect, while the agent rotates. Not one call fails, and the connections that
/// were there stay.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_svids_are_rotated() {
    let spiffe = Spiffe::start(&[]).await;
    let (over, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let stays = heedless(
        spiffe.process.address(),
        spiffe.config("spiffe://prod.test/stays"),
    );
    let mut callers = Vec::new();
    for id in ["spiffe://prod.test/proxy", "spiffe://partner.test/proxy"].repeat(3) {
        let mut client = spiffe.client(spiffe.config(id)).await.unwrap();
        let (over, calls) = (Arc::clone(&over), Arc::clone(&calls));
        callers.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                served(client.get(request()).await.map(drop)).unwrap();
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let stays = tokio::spawn(stays.await.stay(4 * SECOND));
    let mut before = spiffe.shown().await;
    // A domain's next authority comes before it signs anything.
    let next = Authority::new("next");
    for _ in 0..4 {
        let gift = Gift::default()
            .svid(ID, &broker_svid(&spiffe.prod), &[&spiffe.prod, &next])
            .federated("partner.test", &[&spiffe.partner, &next]);
        let goal = calls.load(Ordering::Relaxed) + 30;
        spiffe.agent.gives(gift);
        until(
            "the new certificate is shown, and callers go on",
            || async {
                spiffe.serves("spiffe://prod.test/proxy").await.unwrap();
                spiffe.shown().await != before && calls.load(Ordering::Relaxed) > goal
            },
        )
        .await;
        before = spiffe.shown().await;
    }
    let by_next = next.sign(&Wanted::nobody().uri("spiffe://prod.test/proxy"));
    let by_next = spiffe.config_with(&by_next);
    spiffe.serves_with(by_next).await.unwrap();
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let stayed = stays.await.unwrap();
    assert!(
        stayed.told.is_none() && stayed.ended.is_none(),
        "{stayed:?}"
    );
}

/// The agent gives a domain no longer, or no longer all of its authorities. Connections that these vouched for end, also of
/// those that don't listen. Others' stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_taken_away_takes_its_connections_along() {
    let args = ["--call-timeout", "60s", "--max-connection-age-grace", "2s"];
    let spiffe = Spiffe::start(&args).await;
    let (address, old) = (spiffe.process.address(), Authority::new("old"));
    let both = Gift::default()
        .svid(ID, &broker_svid(&spiffe.prod), &[&spiffe.prod, &old])
        .federated("partner.test", &[&spiffe.partner]);
    spiffe.agent.gives(both);
    let of_old = old.sign(&Wanted::nobody().uri("spiffe://prod.test/old"));
    let of_old = spiffe.config_with(&of_old);
    until("the second authority counts", || async {
        spiffe.serves_with(of_old.clone()).await.is_ok()
    })
    .await;
    let of_partner = spiffe.config("spiffe://partner.test/a");
    let of_prod = spiffe.config("spiffe://prod.test/a");
    let [goes, leaves, stays] = [of_old.clone(), of_partner.clone(), of_prod]
        .map(|config| async move { heedless(address, config).await });
    let (goes, leaves, stays) = tokio::join!(goes, leaves, stays);
    let [goes, leaves] = [goes, leaves].map(|one| tokio::spawn(one.stay(PATIENCE)));
    let stays = tokio::spawn(stays.stay(6 * SECOND));
    let taken = Instant::now();
    let fewer = Gift::default().svid(ID, &broker_svid(&spiffe.prod), &[&spiffe.prod]);
    spiffe.agent.gives(fewer);
    for ends in [goes, leaves] {
        let ended = ends.await.unwrap();
        assert!(ended.told.is_some(), "{ended:?}");
        // There is no look every second here: the agent tells. Calls have 2 s then, however long they may take otherwise.
        let took = ended.ended.unwrap() - taken;
        assert!(took < 30 * SECOND, "{took:?}");
    }
    assert!(spiffe.serves_with(of_old).await.is_err());
    assert!(spiffe.serves_with(of_partner).await.is_err());
    let stayed = stays.await.unwrap();
    assert!(
        stayed.told.is_none() && stayed.ended.is_none(),
        "{stayed:?}"
    );
}
