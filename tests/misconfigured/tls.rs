//! TLS that is set up wrongly.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use testkit::{certificates::Certificates, deployment::Deployment, security::Security};

use super::{ends, plain, secured, sentinels};

#[test]
fn tls_is_set_up_wrongly() {
    let settings = secured().settings();
    let plain_port = format!("rediss://127.0.0.1:{}", plain().port());
    // A server that speaks no TLS is silent, which is waited for.
    let soon = ("redis-connect-timeout", Some("1s"));
    ends(
        &settings,
        &[("redis-url", Some(&plain_port)), soon],
        "redis-url",
        "speaks no TLS",
    );
    let tls_port = format!(
        "redis://127.0.0.1:{}",
        Security::ALL.port(&secured().server)
    );
    ends(
        &[],
        &[("redis-url", Some(&tls_port))],
        "redis-url",
        "speaks TLS",
    );

    let dir = tempfile::tempdir().unwrap();
    Certificates::shared().write_to(dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (other_ca, other) = (file("other-ca.pem"), file("stranger.pem"));
    let other_key = file("stranger.key");
    ends(
        &settings,
        &[("redis-tls-ca", Some(&other_ca))],
        "redis-tls-ca",
        "vouches",
    );
    ends(
        &settings,
        &[("redis-tls-ca", None)],
        "redis-tls-ca",
        "vouches",
    );
    ends(
        &settings,
        &[("redis-tls-ca", Some("/nonexistent"))],
        "redis-tls-ca",
        "no such file",
    );
    ends(
        &settings,
        &[("redis-tls-ca", Some(&other_key))],
        "redis-tls-ca",
        "no certificate",
    );
    let exposed = dir.path().join("exposed.key");
    fs::copy(dir.path().join("client.key"), &exposed).unwrap();
    fs::set_permissions(&exposed, Permissions::from_mode(0o644)).unwrap();
    ends(
        &settings,
        &[("redis-tls-key", exposed.to_str())],
        "redis-tls-key",
        "0644",
    );
    let none = [("redis-tls-cert", None), ("redis-tls-key", None)];
    ends(
        &settings,
        &none,
        "redis-tls-cert",
        "wants a certificate of the broker",
    );
    let others = [
        ("redis-tls-cert", Some(other.as_str())),
        ("redis-tls-key", Some(&other_key)),
    ];
    ends(
        &settings,
        &others,
        "redis-tls-cert",
        "doesn't accept the broker's certificate",
    );
    ends(
        &settings,
        &[("redis-tls-key", None)],
        "redis-tls-cert",
        "redis-tls-key",
    );
    ends(
        &settings,
        &[("redis-tls-key", Some(&other))],
        "redis-tls-key",
        "no private key",
    );
    let name = [("redis-tls-server-name", Some("elsewhere.test"))];
    ends(&settings, &name, "redis-tls-server-name", "elsewhere.test");
    let odd = [("redis-tls-server-name", Some("a b"))];
    ends(&settings, &odd, "redis-tls-server-name", "no host name");

    let sentinels = sentinels().settings();
    let tls = [("redis-sentinel-tls", Some("true")), soon];
    ends(&sentinels, &tls, "redis-sentinel-tls", "speaks no TLS");
}
