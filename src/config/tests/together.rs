//! What is told of settings that don't fit each other, and of values that make no sense.

use std::fs;

use super::{from_toml, problems};
use crate::config::Backend;

/// The lines of a file, and the settings that must be told to have no effect or to contradict another one.
const NOT_TOGETHER: [(&str, &[&str]); 16] = [
    (
        "redis-timeout = \"2s\"\nredis-password = \"p\"",
        &["redis-password", "redis-timeout"],
    ),
    (
        "backend = \"memory\"\nredis-url = \"redis://a\"\nredis-connections = 1",
        &["redis-url", "redis-connections"],
    ),
    (
        "backend = \"memory\"\nallow-unmigrated = true",
        &["allow-unmigrated"],
    ),
    ("legacy-provider = [\"oidc=okta\"]", &["legacy-provider"]),
    ("durability = \"replicated\"", &["durability"]),
    (
        "redis-url = \"redis://a\"\ndurability-replicas = 2\ndurability-timeout = \"2s\"",
        &["durability-replicas", "durability-timeout"],
    ),
    (
        "redis-url = \"redis://a\"\ndurability = \"primary\"\ndurability-connections = 2",
        &["durability-connections"],
    ),
    (
        "redis-url = \"redis+cluster://a\"\nredis-sentinel-username = \"u\"\nredis-sentinel-tls = true",
        &["redis-sentinel-username", "redis-sentinel-tls"],
    ),
    (
        "redis-url = \"redis://a\"\nredis-tls-ca = \"ca\"\nredis-tls-server-name = \"a\"",
        &["redis-tls-ca", "redis-tls-server-name"],
    ),
    (
        "redis-url = \"redis+sentinel://a/m\"\nredis-sentinel-tls-ca = \"ca\"",
        &["redis-sentinel-tls-ca"],
    ),
    (
        "redis-url = \"redis://a\"\nredis-failover-wait = \"1s\"",
        &["redis-failover-wait"],
    ),
    (
        "redis-url = \"redis://a\"\nredis-timeout = \"11s\"",
        &["redis-timeout"],
    ),
    (
        "redis-url = \"redis://a\"\ncall-timeout = \"1s\"\nredis-connect-timeout = \"2s\"",
        &["redis-connect-timeout"],
    ),
    (
        "redis-url = \"redis+cluster://a\"\ncall-timeout = \"2s\"\nredis-failover-wait = \"3s\"\n\
         durability = \"replicated\"\ndurability-timeout = \"4s\"",
        &["redis-failover-wait", "durability-timeout"],
    ),
    ("max-token-bytes = 61441", &["max-token-bytes"]),
    (
        "idle-timeout = \"1h\"\nkeepalive-interval = \"2h\"",
        &["idle-timeout"],
    ),
];

#[test]
fn what_would_be_ignored_ends_the_start() {
    for (lines, expected) in NOT_TOGETHER {
        let problems = from_toml(lines).resolve().unwrap_err();
        let mut told: Vec<_> = problems.iter().map(|problem| &*problem.setting).collect();
        told.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(told, expected, "{lines}: {problems:#?}");
    }
    for lines in [
        "call-timeout = \"500ms\"",
        "max-row-bytes = 1000",
        "redis-url = \"redis+sentinel://a/m\"\nredis-failover-wait = \"1s\"\nredis-sentinel-tls = false",
    ] {
        from_toml(lines).resolve().unwrap();
    }
}

#[test]
fn a_url_of_redis_means_redis() {
    let backend = |lines| from_toml(lines).resolve().unwrap().backend;
    assert_eq!(backend("redis-url = \"redis://a\""), Backend::Redis);
    assert_eq!(backend("backend = \"redis\""), Backend::Redis);
    assert_eq!(backend(""), Backend::Memory);
}

#[test]
fn one_mistake_begets_no_other() {
    for (lines, setting) in [
        (
            "redis-url = \"redis+sentinel://a,b,a/m\"\nredis-sentinel-username = \"u\"\n\
             redis-failover-wait = \"1s\"",
            "redis-url",
        ),
        (
            "redis-url = \"rediss//a\"\nredis-tls-server-name = \"a\"",
            "redis-url",
        ),
        ("backend = \"reddis\"\nredis-timeout = \"1s\"", "backend"),
        (
            "redis-url = \"redis://a\"\ndurability = \"yes\"\ndurability-replicas = 2",
            "durability",
        ),
        (
            "redis-url = \"redis://a\"\ncall-timeout = \"no\"\nredis-timeout = \"20s\"",
            "call-timeout",
        ),
        (
            "max-row-bytes = \"no\"\nmax-token-bytes = 100000",
            "max-row-bytes",
        ),
        (
            "keepalive-interval = \"no\"\nidle-timeout = \"2s\"",
            "keepalive-interval",
        ),
        (
            "max-message-bytes = \"no\"\nmax-row-bytes = 1000000",
            "max-message-bytes",
        ),
        (
            "max-row-bytes = \"no\"\nmax-message-bytes = 10000",
            "max-row-bytes",
        ),
        (
            "listen = \"0.0.0.0:1\"\ninsecure-allow-remote = \"ja\"",
            "insecure-allow-remote",
        ),
    ] {
        let problems = from_toml(lines).resolve().unwrap_err();
        let told: Vec<_> = problems.iter().map(|problem| &*problem.setting).collect();
        assert_eq!(told, [setting], "{problems:#?}");
    }
}

#[test]
fn absurd_values_are_refused() {
    for line in [
        "keepalive-interval = \"1ms\"",
        "call-timeout = \"1ms\"",
        "redis-timeout = \"1ms\"",
        "redis-connect-timeout = \"1ms\"",
        "redis-failover-wait = \"0s\"",
        "durability-timeout = \"1ms\"",
        "legacy-sweep-interval = \"10ms\"",
        "refresh-lifetime = \"1ms\"",
        "shutdown-grace = \"0s\"",
        "max-calls = 0",
        "max-connections = 0",
        "redis-connections = 0",
        "max-providers = 0",
        "redis-password = \"\"",
        "redis-password-file = \"\"",
        "redis-sentinel-username = \"\"",
        "redis-tls-server-name = \"\"",
        "redis-password = \"secret\\n\"",
    ] {
        let problems = problems(&format!("backend = \"redis\"\n{line}"));
        let setting = line.split(' ').next().unwrap();
        assert!(
            problems.iter().any(|told| told.starts_with(setting)),
            "{line}: {problems:?}"
        );
    }
}

#[test]
fn a_password_file_holds_one_password() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    for (bytes, found) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b" \n", "empty"),
        (b"hunter2 \n", "blank"),
        (b"hunter2\nhunter2\n", "several lines"),
        (b"hunter2\xff", "UTF-8"),
        ("\u{feff}hunter2".as_bytes(), "byte order mark"),
    ] {
        fs::write(&path, bytes).unwrap();
        let problems = problems(&format!(
            "backend = \"redis\"\nredis-password-file = {path:?}"
        ));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains(found) && !problems[0].contains("hunter2"),
            "{problems:?}"
        );
    }
    fs::write(&path, "hunter2\r\n").unwrap();
    from_toml(&format!(
        "backend = \"redis\"\nredis-password-file = {path:?}"
    ))
    .resolve()
    .unwrap();
}

#[test]
fn a_session_that_no_client_accepts_is_warned_of() {
    let warnings = |lines| from_toml(lines).resolve().unwrap().warnings;
    assert_eq!(warnings(""), []);
    assert_eq!(warnings("max-providers = 128\nmax-row-bytes = 30000"), []);
    for lines in ["max-providers = 128", "max-row-bytes = 100000"] {
        let told = warnings(lines);
        assert_eq!(told.len(), 1, "{lines}");
        assert!(
            told[0].message.contains("gRPC clients accept 4194304"),
            "{told:?}"
        );
    }
}
