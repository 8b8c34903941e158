//! The policy knows callers by what TLS has verified.

use std::fs;

use testkit::authority::{Authority, Wanted};
use tonic::Code;

use crate::broker::{Broker, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_known_by_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    let policy = r#"
        [callers.auth]
        spiffe-ids = ["spiffe://prod.test/auth"]
        roles = ["auth-server"]
        providers = "*"
        [callers.proxy]
        dns-names = ["caller.test"]
        roles = ["sidecar"]
        providers = "*"
    "#;
    fs::write(&path, policy).unwrap();
    let prod = Authority::new("prod");
    let args = ["--policy", path.to_str().unwrap()];
    let broker = Broker::with_domains_serving(&[("prod.test", &prod)], &args).await;
    let wanted = Wanted::nobody;
    for (who, identity, code) in [
        (
            "allowed",
            prod.sign(&wanted().uri("spiffe://prod.test/auth")),
            Code::NotFound,
        ),
        ("with another role", broker.good(), Code::PermissionDenied),
        (
            "unknown",
            prod.sign(&wanted().uri("spiffe://prod.test/other")),
            Code::Unauthenticated,
        ),
        (
            "of a domain that claims a DNS name",
            prod.sign(
                &wanted()
                    .uri("spiffe://prod.test/other")
                    .dns_name("caller.test"),
            ),
            Code::Unauthenticated,
        ),
        (
            "without names",
            broker.clients.sign(&wanted()),
            Code::Unauthenticated,
        ),
    ] {
        let client = broker.client(broker.config(Some(&identity))).await;
        let answer = client.unwrap().get(request()).await;
        assert_eq!(answer.unwrap_err().code(), code, "{who}");
    }
}
