//! Which clients are let in.

use std::time::{Duration, SystemTime};

use testkit::{
    authority::{Authority, Wanted},
    broker_process::{BrokerProcess, program},
};

use crate::broker::Broker;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_authority_is_let_in_and_no_other_is() {
    let broker = Broker::start(&[]).await;
    let named = Wanted::nobody().dns_name("caller.test");
    let now = SystemTime::now();
    broker.serves(Some(&broker.good())).await.unwrap();
    let own = &broker.clients;
    for (who, identity) in [
        (
            "of another authority",
            Authority::new("client ca").sign(&named),
        ),
        (
            "expired",
            own.sign(&named.clone().valid(now - 2 * HOUR, now - HOUR)),
        ),
        (
            "not yet valid",
            own.sign(&named.clone().valid(now + HOUR, now + 2 * HOUR)),
        ),
        ("for servers", own.sign(&named.clone().for_servers())),
        ("of the server's authority", broker.authority.sign(&named)),
    ] {
        let served = broker.serves(Some(&identity)).await;
        assert!(served.is_err(), "{who}");
    }
    assert!(broker.serves(None).await.is_err(), "without a certificate");
    broker.serves(Some(&broker.good())).await.unwrap();
    let told = broker.process.tells("TLS handshakes fail").await;
    // The first one was the stranger.
    for part in [
        r#""peer":"127.0.0.1:"#,
        "no authority of this name signed the client's certificate: CN=client ca",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_optional_one_that_is_shown_has_to_be_good() {
    let broker = Broker::start(&["--client-certificates", "optional"]).await;
    broker.serves(None).await.unwrap();
    broker.serves(Some(&broker.good())).await.unwrap();
    let stranger = Authority::new("client ca").sign(&Wanted::nobody());
    assert!(broker.serves(Some(&stranger)).await.is_err());
}

/// What clients are told to bring names no authority: with all of them it could be longer than TLS lets it be.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_may_be_many_and_have_long_names() {
    let names: Vec<_> = (0..30)
        .map(|number| format!("domain-{number}.test"))
        .collect();
    let long = "x".repeat(3_000);
    let authorities: Vec<_> = names
        .iter()
        .map(|name| Authority::new(&format!("{name} {long}")))
        .collect();
    let domains: Vec<_> = names.iter().map(String::as_str).zip(&authorities).collect();
    let broker = Broker::with_domains(&domains, &[]).await;
    broker.serves(Some(&broker.good())).await.unwrap();
    let named = Wanted::nobody().uri("spiffe://domain-7.test/proxy");
    broker
        .serves(Some(&authorities[7].sign(&named)))
        .await
        .unwrap();
}

/// Each trust domain vouches for its own ids, and for nothing else; and `client-ca` for none.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_speaks_for_its_own_names_alone() {
    let (prod, test) = (Authority::new("prod"), Authority::new("test"));
    let broker = Broker::with_domains(&[("prod.test", &prod), ("test.test", &test)], &[]).await;
    let id = |id: &str| Wanted::nobody().uri(id);
    for good in [
        prod.sign(&id("spiffe://prod.test/sa/proxy")),
        test.sign(&id("spiffe://test.test/sa/proxy")),
        broker.clients.sign(&id("https://caller.test/")),
        broker.clients.sign(&id("https://a.test/").uri("urn:b")),
    ] {
        broker.serves(Some(&good)).await.unwrap();
    }
    for (who, identity) in [
        (
            "another domain's",
            test.sign(&id("spiffe://prod.test/sa/proxy")),
        ),
        (
            "client-ca's",
            broker.clients.sign(&id("spiffe://prod.test/sa/proxy")),
        ),
        (
            "of an unknown domain",
            prod.sign(&id("spiffe://other.test/x")),
        ),
        (
            "without an id",
            prod.sign(&Wanted::nobody().dns_name("a.test")),
        ),
        ("with another URI alone", prod.sign(&id("https://a.test/"))),
        (
            "with two ids",
            prod.sign(&id("spiffe://prod.test/a").uri("spiffe://prod.test/b")),
        ),
        (
            "with an id and a URI",
            prod.sign(&id("spiffe://prod.test/a").uri("https://a.test/")),
        ),
        (
            "with a URI and an id",
            broker
                .clients
                .sign(&id("https://a.test/").uri("spiffe://prod.test/a")),
        ),
        ("of the domain itself", prod.sign(&id("spiffe://prod.test"))),
        (
            "in capitals",
            broker.clients.sign(&id("SPIFFE://prod.test/a")),
        ),
        ("odd", prod.sign(&id("spiffe://prod.test/a/../b"))),
        (
            "who may sign",
            prod.sign(&id("spiffe://prod.test/a").who_may_sign()),
        ),
    ] {
        let served = broker.serves(Some(&identity)).await;
        assert!(served.is_err(), "{who}");
    }
}

/// The key of a certificate that is no authority's must not vouch for others, whatever an operator has taken it for.
#[tokio::test]
async fn a_certificate_that_may_sign_no_other_is_no_authority() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (authority, clients) = (Authority::new("server ca"), Authority::new("client ca"));
    authority
        .sign(&Wanted::server())
        .write_to(dir.path(), "server");
    clients
        .sign(&Wanted::nobody().dns_name("caller.test"))
        .write_to(dir.path(), "leaf");
    std::fs::write(path("ca.pem"), &clients.pem).unwrap();
    let checked = |ca: &str| {
        let output = program()
            .args([
                "--check-config",
                "--tls-cert",
                &path("server.pem"),
                "--tls-key",
            ])
            .args([&path("server.key"), "--client-ca", &path(ca)])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told) = checked("leaf.pem");
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("client-ca: the file holds a certificate that is no authority"),
        "{told}"
    );
    let (code, told) = checked("ca.pem");
    assert_eq!(code, Some(0), "{told}");
}

/// Clients refuse such certificates, and the broker learns no more than that. So it tells of them when it takes them.
#[tokio::test]
async fn the_log_warns_of_a_certificate_that_clients_will_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let authority = Authority::new("server ca");
    let warns = |wanted: &Wanted, others: &str| {
        let mut own = authority.sign(wanted);
        own.certificate += others;
        own.write_to(dir.path(), "own");
        let (own, key) = (path("own.pem"), path("own.key"));
        let broker = BrokerProcess::start(&["--tls-cert", &own, "--tls-key", &key]);
        let log = broker.terminate().log;
        let told = log
            .lines()
            .find(|line| line.contains("the broker's certificate: "));
        told.map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(warns(&Wanted::server(), &authority.pem), "");
    let nameless = Wanted::nobody().for_servers();
    let end = SystemTime::now() + HOUR;
    let stranger = Authority::new("other").intermediate("stranger", end).pem;
    for (wanted, others, told) in [
        (&nameless, "", "it names nobody"),
        (
            &Wanted::nobody().dns_name("localhost"),
            "",
            "it isn't for servers",
        ),
        (
            &Wanted::server(),
            &*stranger,
            "certificate 2 of the chain signed no other",
        ),
    ] {
        let found = warns(wanted, others);
        assert!(
            found.contains(told) && found.contains("WARN"),
            "{told}: {found}"
        );
    }
}

/// Each further certificate of a chain makes verifying dearer.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_sends_few_certificates_beside_its_own() {
    let broker = Broker::start(&[]).await;
    let junk = Authority::new("junk");
    for (count, is_served) in [(6, true), (7, false)] {
        let mut identity = broker.good();
        for _ in 0..count {
            identity.certificate += &junk.sign(&Wanted::nobody().dns_name("x")).certificate;
        }
        let served = broker.serves(Some(&identity)).await;
        assert_eq!(served.is_ok(), is_served, "{count}: {served:?}");
    }
}
