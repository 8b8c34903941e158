//! A real OpenID provider: npm's `oidc-provider`, which `scripts/tools` gets. Over HTTPS, and it rotates refresh tokens.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use crate::tree;

/// The client secret of the clients that have one.
pub const CLIENT_SECRET: &str = "a secret: with + odd letters %&";

/// A running provider, killed when it is dropped. It has a client for each way to show who one is, which is its id, as in
/// `client_secret_basic`. The id of the key of `private_key_jwt` is `k1`.
pub struct OidcProvider {
    child: Child,
    port: u16,
    pipes: Mutex<Pipes>,
}

/// What happened at a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Refresh tokens that were redeemed.
    pub redemptions: u64,
    /// Requests that were refused.
    pub refusals: u64,
    /// Logins that were revoked, because a refresh token came a second time.
    pub revocations: u64,
}

struct Pipes {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl OidcProvider {
    /// Starts a provider with the [certificates](crate::certificates::Certificates) in `dir`: its own is `server.pem`, and
    /// its clients' key and certificate are `client.key` and `client.pem`.
    pub fn start(dir: &Path) -> Self {
        let server = tree::root().join("tests/provider/oidc-provider/server.mjs");
        let library =
            tree::root().join(".tools/oidc-provider/node_modules/oidc-provider/lib/index.js");
        assert!(library.exists(), "scripts/tools gets oidc-provider");
        let mut child = Command::new("node")
            .arg(server)
            .args([&library, dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node");
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("the provider starts").unwrap();
        Self {
            child,
            port: port.parse().unwrap(),
            pipes: Mutex::new(Pipes { stdin, lines }),
        }
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns a new refresh token of `client`, as if the user `alice` had logged in.
    pub fn log_in(&self, client: &str) -> String {
        self.ask(client)
    }

    /// From now on a refresh token stays the same when it is redeemed (`none`), or the old one can still be redeemed
    /// (`grace`). Before, a token that comes a second time ends the login.
    pub fn rotate(&self, how: &str) {
        self.ask(&format!("!{how}"));
    }

    /// From now on an answer to a request takes this long, after a token was redeemed. Before, it takes 25 ms.
    pub fn takes(&self, long: Duration) {
        self.ask(&format!("~{}", long.as_millis()));
    }

    /// Returns what happened so far.
    pub fn happened(&self) -> Happened {
        let told: serde_json::Value = serde_json::from_str(&self.ask("?")).unwrap();
        let count = |name: &str| told[name].as_u64().unwrap();
        Happened {
            redemptions: count("redemptions"),
            refusals: count("refusals"),
            revocations: count("revocations"),
        }
    }

    fn ask(&self, line: &str) -> String {
        let mut pipes: MutexGuard<'_, Pipes> = self.pipes.lock().unwrap();
        writeln!(pipes.stdin, "{line}").unwrap();
        pipes.lines.next().expect("an answer").unwrap()
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
