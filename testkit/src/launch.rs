//! How to start a Redis: which program, with which configuration, and which login the test uses.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{redis_server::RedisServer, tree::tool};

/// The programs that the tests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// `$REDIS_SERVER`, or else `.tools/bin/redis-server` in this repository, or else
    /// `redis-server` from `PATH`.
    #[default]
    Usual,
    /// The oldest supported Redis, 6.2.
    Oldest,
    /// The newest Valkey.
    Valkey,
}

impl Program {
    /// Returns the path of the program. Panics if it is missing.
    pub fn path(self) -> PathBuf {
        match self {
            Self::Usual => match env::var_os("REDIS_SERVER") {
                Some(path) => path.into(),
                None => tool("redis-server").unwrap_or_else(|| "redis-server".into()),
            },
            Self::Oldest => tool("redis-server-6.2").expect("scripts/tools gets it"),
            Self::Valkey => tool("valkey-server").expect("scripts/tools gets it"),
        }
    }
}

/// The configuration of a server. The server is first started with the configuration as written
/// here, and later with what it has stored itself (`CONFIG REWRITE`).
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The program that the server runs.
    pub program: Program,
    /// Lines of the configuration file. `{port}`, `{second}` and `{dir}` stand for the server's
    /// port, another free port, and its directory.
    pub lines: Vec<String>,
    /// Files in the server's directory, by name.
    pub files: Vec<(&'static str, String)>,
    /// Whether the server is a sentinel.
    pub sentinel: bool,
    /// The user and password of the test itself, if the server requires a login.
    pub login: Option<(String, String)>,
}

impl Launch {
    /// Returns the configuration of a server that keeps nothing on disk.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            ..Self::default()
        }
    }

    /// Adds lines of configuration.
    #[must_use]
    pub fn lines(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lines.extend(lines.into_iter().map(Into::into));
        self
    }

    /// Adds a file to the server's directory.
    #[must_use]
    pub fn file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    /// Makes the server a sentinel instead of a server that keeps data.
    #[must_use]
    pub fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Sets the user and password of the test's own connections.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Starts the server.
    pub fn start(self) -> RedisServer {
        RedisServer::launch(self)
    }

    /// Returns whether the server is a node of a cluster.
    pub(crate) fn is_node(&self) -> bool {
        self.lines
            .iter()
            .any(|line| line.trim() == "cluster-enabled yes")
    }

    /// Returns the text of the configuration file.
    pub(crate) fn config(&self, port: u16, second: u16, dir: &Path) -> String {
        let mut file = "port {port}\nbind 127.0.0.1\ndir {dir}\n".to_owned();
        if !self.sentinel {
            // Redis would wait for more replicas before it sends its data to the first one.
            file += "save \"\"\nrepl-diskless-sync-delay 0\n";
        }
        file += &self.lines.join("\n");
        file += "\n";
        file.replace("{port}", &port.to_string())
            .replace("{second}", &second.to_string())
            .replace("{dir}", dir.to_str().expect("a plain path"))
    }
}
