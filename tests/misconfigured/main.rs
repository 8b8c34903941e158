//! Tests each setting of Redis with a wrong value. The start must end with one message that names the setting and
//! what was found, and contains no secret.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod credentials;
mod rights;
mod servers;
mod tls;
mod together;
mod topology;

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
    cluster::{self, Cluster},
    deployment::Setting,
    launch::Program,
    redis_server::RedisServer,
    security::{BROKER_PASSWORD, Security},
    sentinel::{self, Sentinels},
    standalone::Standalone,
};

/// A tenant on which the tests' users have rights.
const TENANT: &str = "t-settings:conf";
const PATIENCE: Duration = Duration::from_secs(60);

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
        // A busy machine is no fault of the settings.
        ("redis-connect-timeout", "5s".to_owned()),
        ("redis-timeout", "5s".to_owned()),
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
    NODES.get_or_init(|| {
        Cluster::start(&cluster::Options {
            // No node is to be taken for one that failed because the machine is busy.
            node_timeout: Duration::from_secs(5),
            ..Default::default()
        })
    })
}
