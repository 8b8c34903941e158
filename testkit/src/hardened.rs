//! Where a configuration of `deploy/hardened` runs in a test: a Redis, the files that it names, and addresses and paths of this
//! machine in the place of its own.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::{
    broker_process::{BrokerProcess, program},
    deployment::Deployment,
    launch::Program,
    private_file::write_private,
    security::{BROKER_PASSWORD, Security},
    standalone::Standalone,
    tree,
};

/// The client secret of the provider.
pub const CLIENT_SECRET: &str = "a-client-secret";

/// The tenant. The rights of the test's Redis are for tenants of this form.
pub const TENANT: &str = "t-hardened:conf";

const AUDIT_KEY: &str = "YS1rZXktb2YtdGhlLWF1ZGl0LWxvZy1vZi0zMi1ieXRlcyE=";

/// The place.
pub struct Site {
    /// For whatever files a test needs. It has the audit trail, `audit.jsonl`.
    pub dir: TempDir,
    /// Accepts the broker alone, over TLS.
    pub redis: Standalone,
}

/// A part of a configuration, and what stands there in a test.
pub type Replaced<'t> = (&'t str, String);

impl Site {
    /// Starts Redis.
    pub fn start() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            redis: Standalone::start(Program::Usual, Security::ALL),
        }
    }

    /// Returns the files that an operator makes, by their paths below `/run/token-broker`. Certificates aren't among them.
    pub fn secrets(&self) -> Vec<(&'static str, Vec<u8>)> {
        let keys = self.dir.path().join("generated");
        let made = program()
            .args(["keys", "generate", "--out"])
            .arg(&keys)
            .status();
        assert!(made.unwrap().success());
        let sealing = fs::read(&keys).unwrap();
        fs::remove_file(&keys).unwrap();
        vec![
            ("redis/password", BROKER_PASSWORD.into()),
            (
                "redis/ca.pem",
                fs::read(self.of_redis("redis-tls-ca")).unwrap(),
            ),
            ("okta/client-secret", CLIENT_SECRET.into()),
            ("audit/key", AUDIT_KEY.into()),
            ("seal/keys", sealing),
        ]
    }

    /// Writes these files into a directory that is to the broker what `/run/token-broker` is, and returns it.
    pub fn lay_out(&self) -> PathBuf {
        let run = self.dir.path().join("run");
        for (path, text) in self.secrets() {
            write_private(&run.join(path), &text);
        }
        run
    }

    /// Returns a configuration as it can be used here.
    ///
    /// # Panics
    /// Panics if the configuration doesn't have what is to be replaced.
    pub fn placed(&self, config: &str, replaced: &[Replaced<'_>]) -> String {
        let logs = self.dir.path().to_str().unwrap().to_owned();
        let ours = [
            (
                "rediss://broker@redis.internal:6379/0",
                self.of_redis("redis-url"),
            ),
            ("prod:auth", TENANT.to_owned()),
            ("/var/log/token-broker", logs),
        ];
        // Not every machine that runs tests lets a process lock its memory.
        let config = config.replace("memory-lock = \"required\"", "memory-lock = \"try\"");
        let all = replaced.iter().chain(&ours);
        all.fold(config, |config, (theirs, ours)| {
            assert!(config.contains(theirs), "{theirs}");
            config.replace(theirs, ours)
        })
    }

    /// Starts a broker with this configuration. Its listeners are on ports that are free.
    pub fn run(&self, config: &str) -> BrokerProcess {
        let path = self.dir.path().join("placed.toml");
        fs::write(&path, config).unwrap();
        // The test's Redis wants a certificate, too.
        BrokerProcess::start(&[
            "--config",
            path.to_str().unwrap(),
            "--health-listen=127.0.0.1:0",
            "--metrics-listen=127.0.0.1:0",
            "--log-level=trace",
            // A busy machine's Redis may take a while.
            "--redis-timeout=10s",
            "--redis-connect-timeout=10s",
            "--redis-tls-cert",
            &self.of_redis("redis-tls-cert"),
            "--redis-tls-key",
            &self.of_redis("redis-tls-key"),
        ])
    }

    fn of_redis(&self, name: &str) -> String {
        let settings = self.redis.settings();
        let found = settings.into_iter().find(|(found, _)| *found == name);
        found.unwrap().1
    }
}

/// Returns the path of a file in `deploy/hardened`.
pub fn file(name: &str) -> PathBuf {
    tree::root().join("deploy/hardened").join(name)
}

/// Returns the text of a file in `deploy/hardened`.
pub fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}
