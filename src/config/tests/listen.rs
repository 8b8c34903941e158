//! Where the broker may listen, and what TLS needs.

use std::{fs, path::Path};

use testkit::authority::{Authority, Wanted};

use super::{from_toml, problems};
use crate::{
    config::Listen,
    tls::{ClientCertificates, Source},
};

const POLICY: &str =
    "[callers.a]\ndns-names = [\"a.test\"]\nroles = [\"sidecar\"]\nproviders = \"*\"\n";

/// Writes a server's certificate and key, and an authority.
fn write_files(dir: &Path) {
    let authority = Authority::new("authority");
    let server = authority.sign(&Wanted::server());
    server.write_to(dir, "server");
    fs::write(dir.join("ca.pem"), &authority.pem).unwrap();
}

/// Returns lines with `DIR/` spelled out, and TLS.
fn lines(dir: &Path, more: &str) -> String {
    let tls = "tls-cert = \"DIR/server.pem\"\ntls-key = \"DIR/server.key\"\n";
    alone(dir, &format!("{tls}{more}"))
}

/// Returns lines with `DIR/` spelled out.
fn alone(dir: &Path, text: &str) -> String {
    text.replace("DIR", dir.to_str().unwrap())
}

#[test]
fn a_network_is_served_over_tls_and_with_a_policy() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
    let policy = "policy = \"DIR/policy.toml\"\n";
    let insecure = "insecure-allow-remote = true\n";
    for (text, is_served, hazard) in [
        (lines(dir.path(), policy), true, None),
        (lines(dir.path(), ""), false, None),
        (alone(dir.path(), policy), false, None),
        (String::new(), false, None),
        (lines(dir.path(), insecure), true, Some("any caller that")),
        (
            alone(dir.path(), &format!("{policy}{insecure}")),
            true,
            Some("calls are in plain text"),
        ),
        (
            insecure.to_owned(),
            true,
            Some("plain text, and any caller"),
        ),
    ] {
        let resolved = from_toml(&format!("listen = \"0.0.0.0:1\"\n{text}")).resolve();
        assert_eq!(resolved.is_ok(), is_served, "{text}: {resolved:?}");
        if let Ok(config) = resolved {
            let found = config.listen.hazard.unwrap_or_default();
            let fits = hazard.map_or(found.is_empty(), |hazard| found.contains(hazard));
            assert!(fits, "{text}: {found}");
        }
    }
}

/// Who mends what is told first isn't told of the next thing.
#[test]
fn all_that_a_network_lacks_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
    for (text, cure) in [
        (String::new(), "set tls-cert and policy, or"),
        (lines(dir.path(), ""), "set policy, or"),
        (
            alone(dir.path(), "policy = \"DIR/policy.toml\"\n"),
            "set tls-cert, or",
        ),
    ] {
        let told = problems(&format!("listen = \"0.0.0.0:1\"\n{text}"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(cure), "{told:?}");
    }
}

#[test]
fn certificates_are_required_where_somebody_vouches_for_them() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    for (more, expected) in [
        ("", ClientCertificates::Off),
        ("client-certificates = \"off\"", ClientCertificates::Off),
        ("client-ca = \"DIR/ca.pem\"", ClientCertificates::Required),
        (
            "trust-domains = [\"a.test=DIR/ca.pem\"]",
            ClientCertificates::Required,
        ),
        (
            "client-ca = \"DIR/ca.pem\"\nclient-certificates = \"optional\"",
            ClientCertificates::Optional,
        ),
    ] {
        let config = from_toml(&lines(dir.path(), more)).resolve().unwrap();
        let tls = config.listen.tls.unwrap();
        assert_eq!(tls.client_certificates, expected, "{more}");
    }
}

#[test]
fn what_is_wrong_with_tls_is_told_with_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let other = Authority::new("other").sign(&Wanted::server());
    other.write_to(dir.path(), "other");
    let alone = |text: &str| alone(dir.path(), text);
    for (text, told) in [
        (
            alone("tls-cert = \"DIR/server.pem\""),
            vec!["tls-cert: needs tls-key too"],
        ),
        (
            alone("listen = \"0.0.0.0:1\"\ntls-key = \"DIR/server.key\""),
            vec!["tls-key: needs tls-cert too"],
        ),
        (
            alone("client-ca = \"DIR/ca.pem\"\nclient-certificates = \"required\""),
            vec![
                "client-certificates: has no effect",
                "client-ca: has no effect",
            ],
        ),
        (
            alone("tls-cert = \"DIR/server.pem\"\ntls-key = \"DIR/other.key\""),
            vec!["tls-key: the key isn't that of the certificate"],
        ),
        (
            alone("tls-cert = \"DIR/server.key\"\ntls-key = \"DIR/server.pem\""),
            vec![
                "tls-cert: the file holds no certificate",
                "tls-key: its rights are",
            ],
        ),
        (
            lines(dir.path(), "client-certificates = \"required\""),
            vec!["client-certificates: needs client-ca or trust-domains"],
        ),
        (
            lines(
                dir.path(),
                "client-ca = \"DIR/ca.pem\"\nclient-certificates = \"off\"",
            ),
            vec!["client-certificates: must not be off"],
        ),
        (
            lines(
                dir.path(),
                "client-ca = \"DIR/none\"\n[trust-domains]\n\"a.test\" = \"DIR/server.key\"",
            ),
            vec![
                "client-ca: no such file",
                "trust-domains: a.test: the file holds no certificate",
            ],
        ),
        (
            lines(
                dir.path(),
                "trust-domains = [\"spiffe://a.test=DIR/ca.pem\", \"a\"]",
            ),
            vec![
                "trust-domains: entry 1 must name a trust domain",
                "trust-domains: entry 2 must be NAME=FILE",
            ],
        ),
        (
            lines(dir.path(), "listen = \"unix:/run/broker.sock\""),
            vec!["tls-cert: has no effect"],
        ),
        (
            "listen-mode = \"660\"".to_owned(),
            vec!["listen-mode: has no effect"],
        ),
        (
            "listen = \"unix:/a\"\nlisten-mode = \"888\"".to_owned(),
            vec!["listen-mode: must be rights in octal"],
        ),
        (
            "listen = \"unix:broker.sock\"".to_owned(),
            vec!["listen: must have the whole path"],
        ),
        (
            format!("listen = \"unix:/{}\"", "a".repeat(107)),
            vec!["listen: must have a path of at most"],
        ),
        (
            "health-listen = \"unix:/a\"".to_owned(),
            vec!["health-listen: "],
        ),
    ] {
        let found = problems(&text);
        let fits = found.len() == told.len()
            && told
                .iter()
                .all(|told| found.iter().any(|found| found.contains(told)));
        assert!(fits, "{text}: {found:#?}");
    }
}

#[test]
fn a_socket_is_named_in_two_ways() {
    for text in ["unix:/run/broker.sock", "unix:///run/broker.sock"] {
        let parsed = Listen::parse(text).unwrap();
        assert_eq!(parsed, Listen::Unix("/run/broker.sock".into()));
        assert_eq!(parsed.to_string(), "unix:/run/broker.sock");
    }
}

#[test]
fn an_agent_gives_what_files_would_have() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let alone = |text: &str| alone(dir.path(), text);
    let agent = "spiffe-workload-api = \"unix:///run/spire/agent.sock\"\n";
    for (more, when) in [
        ("", ClientCertificates::Required),
        ("client-ca = \"DIR/ca.pem\"", ClientCertificates::Required),
        (
            "client-certificates = \"optional\"\nspiffe-id = \"spiffe://a.test/b\"",
            ClientCertificates::Optional,
        ),
        ("client-certificates = \"off\"", ClientCertificates::Off),
    ] {
        // Nothing is connected to.
        let config = from_toml(&alone(&format!("{agent}{more}"))).resolve();
        let tls = config.unwrap().listen.tls.unwrap();
        assert_eq!(tls.client_certificates, when, "{more}");
        let Source::WorkloadApi { socket, spiffe_id } = tls.source else {
            panic!("{:?}", tls.source);
        };
        assert_eq!(socket, Path::new("/run/spire/agent.sock"));
        assert_eq!(spiffe_id.is_some(), more.contains("spiffe-id"));
    }
    let unix = "spiffe-workload-api: must be unix:/PATH";
    for (text, told) in [
        (
            lines(dir.path(), agent),
            vec![
                "tls-cert: must not be set beside spiffe-workload-api",
                "tls-key: must not be set beside spiffe-workload-api",
            ],
        ),
        (
            format!("{agent}[trust-domains]\n\"a.test\" = \"/b.pem\""),
            vec!["trust-domains: must not be set beside spiffe-workload-api"],
        ),
        (
            alone(&format!("{agent}client-ca = \"DIR/none\"")),
            vec!["client-ca: no such file"],
        ),
        (
            lines(dir.path(), "spiffe-id = \"spiffe://a.test/b\""),
            vec!["spiffe-id: has no effect: it needs spiffe-workload-api"],
        ),
        (
            format!("{agent}spiffe-id = \"a.test/b\""),
            vec!["spiffe-id: isn't a SPIFFE id"],
        ),
        (
            format!("{agent}spiffe-id = \"spiffe://a.test\""),
            vec!["spiffe-id: names a trust domain and no workload"],
        ),
        (
            format!("listen = \"unix:/run/broker.sock\"\n{agent}"),
            vec!["spiffe-workload-api: has no effect: listen names a Unix socket"],
        ),
        (
            "spiffe-workload-api = \"tcp://127.0.0.1:8081\"".to_owned(),
            vec!["spiffe-workload-api: must be unix:/PATH: over TCP the private key"],
        ),
        (
            "spiffe-workload-api = \"/run/agent.sock\"".to_owned(),
            vec![unix],
        ),
        (
            "spiffe-workload-api = \"127.0.0.1:1\"".to_owned(),
            vec![unix],
        ),
    ] {
        let found = problems(&text);
        assert_eq!(found.len(), told.len(), "{text}: {found:?}");
        for (found, told) in found.iter().zip(told) {
            assert!(found.starts_with(told), "{text}: {found}");
        }
    }
}

/// A policy names callers that this broker can't know: that is allowed, and warned of.
#[test]
fn ways_to_know_callers_follow_from_the_settings() {
    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let keys = ["spiffe-ids", "dns-names", "bearer-sha256"];
    let values = ["spiffe://prod.test/a", "a.test", HASH];
    for (at, key) in keys.iter().enumerate() {
        let caller = format!(
            "[callers.a]\nroles = [\"sidecar\"]\nproviders = \"*\"\n{key} = [{:?}]\n",
            values[at]
        );
        fs::write(dir.path().join(format!("{key}.toml")), caller).unwrap();
    }
    let domain = |name: &str| format!("[trust-domains]\n{name:?} = \"DIR/ca.pem\"\n");
    let insecure = "insecure-allow-remote = true\nlisten =".to_owned();
    for (is_secure, settings, known) in [
        (false, String::new(), [false, false, true]),
        (
            false,
            "listen = \"unix:DIR/s\"\n".to_owned(),
            [false, false, true],
        ),
        (
            false,
            format!("{insecure} \"0.0.0.0:1\"\n"),
            [false, false, true],
        ),
        (false, format!("{insecure} \"192.0.2.1:1\"\n"), [false; 3]),
        (true, String::new(), [false, false, true]),
        (
            true,
            "client-ca = \"DIR/ca.pem\"\n".to_owned(),
            [false, true, false],
        ),
        (
            true,
            "client-certificates = \"optional\"\nclient-ca = \"DIR/ca.pem\"\n".to_owned(),
            [false, true, true],
        ),
        (true, domain("prod.test"), [true, false, false]),
        (true, domain("test.test"), [false, false, false]),
    ] {
        for (key, is_known) in keys.iter().zip(known) {
            let text = format!("policy = \"DIR/{key}.toml\"\n{settings}");
            let text = match is_secure {
                true => lines(dir.path(), &text),
                false => alone(dir.path(), &text),
            };
            let warnings = from_toml(&text).resolve().unwrap().warnings;
            let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
            let names_it = told
                .iter()
                .any(|told| told.starts_with(&format!("policy: callers.a.{key}: entry 1")));
            assert_eq!(names_it, !is_known, "{key}: {text}: {told:?}");
        }
    }
    let agent = "policy = \"DIR/spiffe-ids.toml\"\nspiffe-workload-api = \"unix:DIR/agent\"\n";
    let resolved = from_toml(&alone(dir.path(), agent)).resolve();
    assert_eq!(resolved.unwrap().warnings, []);
}

#[test]
fn two_listeners_have_no_address_in_common() {
    // The machine decides whether `[::]` is all IPv4 addresses, too.
    let takes_ipv4 =
        fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|only| only.trim() == "0");
    let if_it_does = |told| if takes_ipv4 { told } else { &[][..] };
    for (listen, health, metrics, told) in [
        (
            "127.0.0.1:1",
            "[::]:1",
            "127.0.0.2:2",
            if_it_does(&["health-listen: has the address of listen: "]),
        ),
        (
            "unix:/x",
            "[::]:1",
            "127.0.0.2:1",
            if_it_does(&["metrics-listen: has the address of health-listen: "]),
        ),
        (
            "[::1]:1",
            "[::1%1]:1",
            "[::1%1]:2",
            &["health-listen: has the address of listen: "],
        ),
        ("127.0.0.1:1", "[fe80::1%1]:1", "[fe80::1%2]:1", &[]),
        (
            "127.0.0.1:1",
            "[::1]:1",
            "[::ffff:0.0.0.0]:1",
            &["metrics-listen: has the address of listen: "],
        ),
        (
            "127.0.0.1:1",
            "127.0.0.1:1",
            "127.0.0.1:2",
            &["health-listen: has the address of listen: "],
        ),
        (
            "127.0.0.1:1",
            "127.0.0.1:2",
            "127.0.0.1:1",
            &["metrics-listen: has the address of listen: "],
        ),
        (
            "unix:/x",
            "0.0.0.0:2",
            "127.0.0.1:2",
            &["metrics-listen: has the address of health-listen: "],
        ),
        (
            "[::1]:1",
            "[::]:1",
            "[::1]:2",
            &["health-listen: has the address of listen: "],
        ),
        (
            "127.0.0.1:1",
            "[::ffff:127.0.0.1]:1",
            "[::1]:1",
            &["health-listen: has the address of listen: "],
        ),
        (
            "127.0.0.1:1",
            "127.0.0.1:1",
            "127.0.0.1:1",
            &[
                "health-listen: has the address of listen: ",
                "metrics-listen: has the address of listen: ",
            ],
        ),
        ("127.0.0.1:1", "[::1]:1", "127.0.0.2:1", &[]),
        ("127.0.0.1:1", "[::]:2", "127.0.0.2:3", &[]),
        ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", &[]),
        ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", &[]),
    ] {
        let text = format!(
            "listen = {listen:?}\nhealth-listen = {health:?}\nmetrics-listen = {metrics:?}\n"
        );
        let found = from_toml(&text).resolve().err().unwrap_or_default();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), told.len(), "{text}: {found:?}");
        for (found, told) in found.iter().zip(told) {
            assert!(found.starts_with(told), "{text}: {found}");
        }
    }
}
