//! What is wrong with a server is told in an operator's words, and no setting is blamed for it that is right.

use std::{fs, net::UdpSocket};

use testkit::{
    certificates::Certificates, launch::Launch, private_file::write_private,
    redis_server::RedisServer,
};

use super::start;

/// Checks what `check` says of the server that these settings name. It ends with exit code 1 where waiting may
/// help, and with 2 otherwise.
fn says(settings: &[(&'static str, &str)], code: i32, begins: &str, found: &str) {
    let changes: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, Some(*value)))
        .collect();
    let (ended, said) = start("check", &[], &changes);
    assert_eq!(ended, code, "{said}");
    assert!(
        said.contains(&format!("token-broker: {begins}: ")),
        "{said}"
    );
    assert!(said.contains(found), "{found} in {said}");
    for raw in [
        "UNIX",
        "DnsName",
        "Context",
        "OtherError",
        "CaUsed",
        "EndEntity",
    ] {
        assert!(!said.contains(raw), "{raw} in {said}");
    }
}

const UNREACHABLE: &str = "Redis can't be reached";

#[test]
fn a_certificate_that_is_wrong_is_told_in_words() {
    let launch = Certificates::shared()
        .files()
        .into_iter()
        .fold(Launch::default(), |launch, (name, text)| {
            launch.file(name, text)
        });
    let server = launch
        .lines([
            "tls-port {second}",
            "tls-cert-file {dir}/server.pem",
            "tls-key-file {dir}/server.key",
            "tls-ca-cert-file {dir}/ca.pem",
            "tls-auth-clients no",
        ])
        .start();
    let file = |name: &str| server.dir().join(name).to_str().unwrap().to_owned();
    let set = |words: &[&str]| {
        server
            .ask::<()>(&[&["CONFIG", "SET"], words].concat())
            .unwrap()
    };
    let (url, ca) = (
        format!("rediss://127.0.0.1:{}", server.second_port()),
        file("ca.pem"),
    );
    let settings = [("redis-url", &*url), ("redis-tls-ca", &*ca)];
    for (certificate, code, begins, found) in [
        (
            "expired",
            1,
            UNREACHABLE,
            "ended at 2001-01-01T00:00:00Z, and this machine's clock says 20",
        ),
        ("later", 1, UNREACHABLE, "begins at 2090-01-01T00:00:00Z"),
        ("clients-only", 2, "redis-url", "isn't for servers"),
        ("ca", 2, "redis-url", "is that of an authority (CA:TRUE)"),
        (
            "stranger",
            2,
            "redis-tls-ca",
            "no authority that is trusted vouches for",
        ),
    ] {
        let (pem, key) = (
            file(&format!("{certificate}.pem")),
            file(&format!("{certificate}.key")),
        );
        set(&["tls-cert-file", &pem, "tls-key-file", &key]);
        says(&settings, code, begins, found);
    }
    set(&[
        "tls-cert-file",
        &file("server.pem"),
        "tls-key-file",
        &file("server.key"),
    ]);
    let named = [
        &settings[..],
        &[("redis-tls-server-name", "elsewhere.test")],
    ]
    .concat();
    let names = "is for 127.0.0.1, localhost, redis.test, and not for elsewhere.test";
    says(&named, 2, "redis-tls-server-name", names);
    says(
        &settings[..1],
        2,
        "redis-tls-ca",
        "none of the system's authorities",
    );

    set(&["tls-protocols", "TLSv1.2", "tls-ciphers", "AES256-SHA"]);
    says(&settings, 2, "redis-url", "have no cipher in common");
    let (pem, key) = (file("client.pem"), file("client.key"));
    let own = [
        &settings[..],
        &[("redis-tls-cert", &*pem), ("redis-tls-key", &*key)],
    ]
    .concat();
    says(&own, 2, "redis-url", "have no cipher in common");
}

#[test]
fn a_file_that_holds_something_else_is_told() {
    let dir = tempfile::tempdir().unwrap();
    Certificates::shared().write_to(dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write_private(&dir.path().join("encrypted.key"), encrypted);
    fs::write(file("ca.der"), b"\x30\x82\x01\x0a").unwrap();
    for (ca, cert, key, setting, found) in [
        (
            "ca.key",
            "client.pem",
            "client.key",
            "redis-tls-ca",
            "it holds a private key",
        ),
        (
            "ca.der",
            "client.pem",
            "client.key",
            "redis-tls-ca",
            "in DER",
        ),
        (
            "ca.pem",
            "client.pem",
            "client.pem",
            "redis-tls-key",
            "it holds a certificate",
        ),
        (
            "ca.pem",
            "client.pem",
            "encrypted.key",
            "redis-tls-key",
            "is encrypted",
        ),
        (
            "ca.pem",
            "client.pem",
            "server.key",
            "redis-tls-key",
            "isn't that of the certificate",
        ),
    ] {
        let (ca, cert, key) = (file(ca), file(cert), file(key));
        let settings = [
            ("redis-url", "rediss://127.0.0.1:1"),
            ("redis-tls-ca", &ca),
            ("redis-tls-cert", &cert),
            ("redis-tls-key", &key),
        ];
        says(&settings, 2, setting, found);
    }
}

#[test]
fn a_server_that_lets_nobody_in_says_why() {
    let server = RedisServer::start();
    let url = server.url();
    let mut held = server.raw();
    let cmd = redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxclients")
        .arg(1)
        .exec(&mut held);
    cmd.unwrap();
    says(
        &[("redis-url", &url)],
        1,
        UNREACHABLE,
        "as many connections as it allows (maxclients)",
    );

    // Protected mode is about connections from elsewhere, so it needs an address that isn't loopback.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let routed = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    let Some(own) = routed
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback())
    else {
        return;
    };
    let server = Launch::default()
        .lines(["bind 0.0.0.0", "protected-mode yes"])
        .start();
    let url = format!("redis://{own}:{}", server.port());
    says(
        &[("redis-url", &url)],
        2,
        "redis-url",
        "is in protected mode",
    );
}
