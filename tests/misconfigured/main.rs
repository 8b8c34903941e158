//! Tests each setting of Redis with a wrong value. The start must end with one message that names the setting and
//! what was found, and contains no secret.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod servers;

use std::{
    collections::BTreeMap,
    fs,
    process::{Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use testkit::{
    broker_process,
    certificates::Certificates,
    cluster::{self, Cluster},
    deployment::{Deployment, Setting},
    launch::{Launch, Program},
    redis_server::RedisServer,
    security::{BROKER_PASSWORD, Security},
    sentinel::{self, Sentinels},
    standalone::Standalone,
};

/// A tenant on which the tests' users have rights.
const TENANT: &str = "t-settings:conf";
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the program with `base` and these changes, and returns its exit code and what it prints on stderr. `None`
/// removes a setting.
fn start(
    command: &str,
    base: &[Setting],
    changes: &[(&'static str, Option<&str>)],
) -> (i32, String) {
    let mut settings: BTreeMap<&str, String> = base.iter().cloned().collect();
    settings.extend([
        ("backend", "redis".to_owned()),
        ("listen", "127.0.0.1:0".to_owned()),
        ("tenant", TENANT.to_owned()),
    ]);
    for (name, value) in changes {
        match value {
            Some(value) => settings.insert(name, (*value).to_owned()),
            None => settings.remove(name),
        };
    }
    let lines = settings
        .iter()
        .map(|(name, value)| format!("{name} = {value:?}\n"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.toml");
    fs::write(&file, lines.collect::<String>()).unwrap();
    let child = broker_process::program()
        .arg(command)
        .arg("--config")
        .arg(&file)
        .args(["--log-format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let Output { status, stderr, .. } = wait(child);
    let stderr = String::from_utf8(stderr).unwrap();
    (status.code().unwrap_or(-1), stderr)
}

fn wait(mut child: std::process::Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// Checks that the start ends with one message about `setting` that contains `found`.
fn ends(base: &[Setting], changes: &[(&'static str, Option<&str>)], setting: &str, found: &str) {
    let (code, said) = start("serve", base, changes);
    let messages: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("token-broker: "))
        .collect();
    let own: Vec<_> = messages
        .iter()
        .filter(|line| !line.contains("see token-broker --help"))
        .collect();
    assert_eq!((code, own.len()), (2, 1), "{changes:?}: {said}");
    let begins = format!("token-broker: {setting}: ");
    assert!(own[0].starts_with(&begins), "{changes:?}: {said}");
    assert!(own[0].contains(found), "{changes:?}: {said}");
    for secret in [BROKER_PASSWORD, "hunter2"] {
        assert!(!said.contains(secret), "{changes:?}: {said}");
    }
}

fn plain() -> &'static RedisServer {
    RedisServer::shared()
}

fn secured() -> &'static Standalone {
    static SECURED: OnceLock<Standalone> = OnceLock::new();
    SECURED.get_or_init(|| Standalone::start(Program::Usual, Security::ALL))
}

fn sentinels() -> &'static Sentinels {
    static SENTINELS: OnceLock<Sentinels> = OnceLock::new();
    SENTINELS.get_or_init(|| {
        let security = Security::ACL;
        Sentinels::start(&sentinel::Options {
            security,
            ..Default::default()
        })
    })
}

fn nodes() -> &'static Cluster {
    static NODES: OnceLock<Cluster> = OnceLock::new();
    NODES.get_or_init(|| Cluster::start(&cluster::Options::default()))
}

#[test]
fn the_topology_is_another_one() {
    let server = plain().port();
    let (node, sentinel) = (nodes().port(0), sentinels().sentinels[0].port());
    for (url, found) in [
        (
            format!("redis+cluster://127.0.0.1:{server}"),
            "is no node of a cluster",
        ),
        (
            format!("redis+sentinel://127.0.0.1:{server}/mymaster"),
            "is no sentinel",
        ),
        (
            format!("redis://127.0.0.1:{node}"),
            "is a node of a cluster",
        ),
        (
            format!("redis+sentinel://127.0.0.1:{node}/mymaster"),
            "is no sentinel",
        ),
        (
            format!("redis://127.0.0.1:{server}/99"),
            "has no database 99",
        ),
    ] {
        ends(&[], &[("redis-url", Some(&url))], "redis-url", found);
    }
    let password = sentinels().settings();
    let url = format!("redis://broker@127.0.0.1:{sentinel}");
    let changes = [
        ("redis-url", Some(url.as_str())),
        ("redis-sentinel-password", None),
        ("redis-sentinel-username", None),
    ];
    ends(&password, &changes, "redis-url", "127.0.0.1");
}

#[test]
fn the_sentinels_know_another_master() {
    let settings = sentinels().settings();
    let url = sentinels().url().replace("mymaster", "elsewhere");
    ends(
        &settings,
        &[("redis-url", Some(&url))],
        "redis-url",
        "no master called \"elsewhere\"",
    );
}

#[test]
fn a_password_is_wrong() {
    let (server, sentinels) = (secured().settings(), sentinels().settings());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "hunter2\n").unwrap();
    let file = file.to_str().unwrap();
    let refused = "refuses the user or the password";
    ends(
        &server,
        &[("redis-password", Some("hunter2"))],
        "redis-password",
        refused,
    );
    let in_file = [
        ("redis-password", None),
        ("redis-password-file", Some(file)),
    ];
    ends(&server, &in_file, "redis-password-file", refused);
    ends(
        &server,
        &[("redis-password", None)],
        "redis-password-file",
        "asks for a password",
    );
    ends(
        &server,
        &[("redis-password-file", Some(file))],
        "redis-password-file",
        "only one may",
    );
    let gone = [
        ("redis-password", None),
        ("redis-password-file", Some("/nonexistent")),
    ];
    ends(&server, &gone, "redis-password-file", "can't be read");
    let wrong = [("redis-sentinel-password", Some("hunter2"))];
    ends(&sentinels, &wrong, "redis-sentinel-password", refused);
    let none = [
        ("redis-sentinel-password", None),
        ("redis-sentinel-username", None),
    ];
    ends(
        &sentinels,
        &none,
        "redis-sentinel-password-file",
        "asks for a password",
    );
}

#[test]
fn a_user_may_not_do_what_it_must() {
    let users = [
        "user default on >adm ~* &* +@all",
        "user nobody on >hunter2 ~* -@all",
        "user elsewhere on >hunter2 ~other:* +@all",
        "user reader on >hunter2 ~* +@all -eval",
    ];
    let server = Launch::default()
        .file("users.acl", users.join("\n") + "\n")
        .lines(["aclfile {dir}/users.acl"])
        .login("default", "adm")
        .start();
    for user in ["nobody", "elsewhere", "reader"] {
        let url = format!("redis://{user}:hunter2@127.0.0.1:{}", server.port());
        ends(&[], &[("redis-url", Some(&url))], "redis-url", "permission");
    }
}

/// Without a password, a user logs in all the same, and has its own rights and not those of the default user.
#[test]
fn a_user_without_a_password_is_wrong() {
    let (server, sentinels) = (secured().settings(), sentinels().settings());
    let asks = "asks for a password of this user, and none is set";
    let none = [("redis-password", None)];
    ends(&server, &none, "redis-password-file", asks);
    let none = [("redis-sentinel-password", None)];
    ends(&sentinels, &none, "redis-sentinel-password-file", asks);

    let users = [
        "user default on nopass ~* &* +@all",
        "user limited on nopass ~* +@all -eval",
        "user secret on >hunter2 ~* +@all",
    ];
    let launch = Launch::default()
        .file("users.acl", users.join("\n") + "\n")
        .lines(["aclfile {dir}/users.acl"]);
    let server = launch.start();
    let (plain, limited) = (server.url(), server.url().replace("//", "//limited@"));
    let url = [("redis-url", Some(limited.as_str()))];
    ends(&[], &url, "redis-url", "permission");
    let beside = [
        ("redis-url", Some(plain.as_str())),
        ("redis-username", Some("limited")),
    ];
    ends(&[], &beside, "redis-username", "permission");
    let both = [("redis-url", Some(limited.as_str())), beside[1]];
    ends(&[], &both, "redis-username", "only one may be set");
    let secret = [beside[0], ("redis-username", Some("secret"))];
    ends(&[], &secret, "redis-password-file", asks);
    let unknown = [beside[0], ("redis-username", Some("nobody"))];
    ends(&[], &unknown, "redis-password-file", asks);
}

/// Each command that the broker needs may be renamed, or forbidden.
#[test]
fn a_command_is_missing() {
    let starts = |commands: &'static [&'static str]| {
        thread::spawn(move || {
            commands.iter().for_each(|command| lacks(command));
        })
    };
    let halves = [
        starts(&["EVAL", "EVALSHA", "SCAN", "SELECT", "WAIT", "SSCAN"]),
        starts(&["SET", "SADD", "SREM", "DEL", "PEXPIRE", "TYPE", "MGET"]),
    ];
    halves.into_iter().for_each(|half| half.join().unwrap());
    for command in ["SELECT", "SET", "INFO", "ROLE"] {
        forbids(command);
    }
}

/// The command is renamed.
fn lacks(command: &str) {
    let renamed = format!("rename-command {command} \"\"");
    let server = Launch::default().lines([renamed]).start();
    let url = format!("redis://127.0.0.1:{}/1", server.port());
    let changes = [
        ("redis-url", Some(url.as_str())),
        ("durability", Some("replicated")),
    ];
    ends(&[], &changes, "redis-url", command);
}

/// The user may not run the command.
fn forbids(command: &str) {
    let user = format!("user limited on nopass ~* &* +@all -{command}");
    let server = Launch::default()
        .file("users.acl", format!("{user}\n"))
        .lines(["aclfile {dir}/users.acl"])
        .start();
    let url = format!("redis://limited@127.0.0.1:{}/1", server.port());
    let told = command.to_lowercase();
    let (code, said) = start("serve", &[], &[("redis-url", Some(&url))]);
    assert_eq!(code, 2, "{command}: {said}");
    let said = said.to_lowercase();
    assert!(
        said.contains("redis-url: ") && said.contains(&told),
        "{command}: {said}"
    );
}

#[test]
fn tls_is_set_up_wrongly() {
    let settings = secured().settings();
    let plain_port = format!("rediss://127.0.0.1:{}", plain().port());
    ends(
        &settings,
        &[("redis-url", Some(&plain_port))],
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
        "can't be read",
    );
    ends(
        &settings,
        &[("redis-tls-ca", Some(&other_key))],
        "redis-tls-ca",
        "no certificate",
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
    let tls = [("redis-sentinel-tls", Some("true"))];
    ends(&sentinels, &tls, "redis-sentinel-tls", "speaks no TLS");
}

#[test]
fn settings_do_not_fit_each_other() {
    let url = plain().url();
    let base = [("redis-url", url)];
    for (setting, value, found) in [
        ("redis-tls-ca", "ca.pem", "without TLS"),
        ("redis-tls-server-name", "redis.test", "without TLS"),
        ("redis-sentinel-username", "broker", "no sentinels"),
        ("redis-sentinel-tls", "true", "no sentinels"),
        ("redis-failover-wait", "soon", "span of time"),
        ("durability", "eventual", "primary, replicated"),
        ("durability-replicas", "0", "from 1 to"),
        ("durability-timeout", "-1s", "span of time"),
        ("durability-connections", "many", "whole number"),
        ("redis-url", "redis://a,b", "several hosts"),
        ("redis-url", "redis+sentinel://a", "no master"),
        ("redis-url", "redis+cluster://a/1", "database"),
        ("redis-url", "http://broker:hunter2@redis", "unknown scheme"),
    ] {
        ends(&base, &[(setting, Some(value))], setting, found);
    }
}

/// The setting that holds the password is at fault, whichever it is.
#[test]
fn a_wrong_password_in_the_url_is_the_urls_fault() {
    let refused = "refuses the user or the password";
    let launch = Launch::default().lines(["requirepass right"]);
    let server = launch.login("default", "right").start();
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    ends(&[], &[("redis-url", Some(&url))], "redis-url", refused);

    let output = broker_process::program()
        .args(["--listen", "127.0.0.1:0"])
        .env("TOKEN_BROKER_REDIS_URL", &url)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("token-broker: TOKEN_BROKER_REDIS_URL: "),
        "{said}"
    );
    assert!(
        said.contains(refused) && !said.contains("hunter2"),
        "{said}"
    );
}

/// The other commands that use Redis print the same message.
#[test]
fn every_command_says_so() {
    for command in ["migrate", "check"] {
        let wrong = [("redis-password", Some("hunter2"))];
        let (code, said) = start(command, &secured().settings(), &wrong);
        assert_eq!(code, 2, "{command}: {said}");
        assert!(
            said.starts_with("token-broker: redis-password: "),
            "{command}: {said}"
        );
    }
}
