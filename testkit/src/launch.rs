//! How a Redis is to be started: which program, with what configuration, and who may look into it.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{redis_server::RedisServer, tree::tool};

/// The programs that the tests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// `$REDIS_SERVER`, else `.tools/bin/redis-server` in this repository, else the one in `PATH`.
    #[default]
    Usual,
    /// The oldest Redis that is promised, 6.2.
    Oldest,
    /// The newest Valkey.
    Valkey,
}

impl Program {
    /// Where it is. A test that can't get it fails.
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

/// What a server is started with: once as it is written here, later as the server itself keeps it
/// (`CONFIG REWRITE`).
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The program that it runs.
    pub program: Program,
    /// Lines of its configuration file. `{port}`, `{second}` and `{dir}` stand for its port,
    /// another one that was free, and its directory.
    pub lines: Vec<String>,
    /// Files in its directory, by name.
    pub files: Vec<(&'static str, String)>,
    /// Whether it is a sentinel.
    pub sentinel: bool,
    /// The user and password of the test itself, where the server asks for one.
    pub login: Option<(String, String)>,
}

impl Launch {
    /// A server that keeps nothing on disk.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            ..Self::default()
        }
    }

    /// More lines of configuration.
    #[must_use]
    pub fn lines(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lines.extend(lines.into_iter().map(Into::into));
        self
    }

    /// One more file in its directory.
    #[must_use]
    pub fn file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    /// A sentinel instead of a server that keeps data.
    #[must_use]
    pub fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// The user and password of the test's own connections.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Starts it.
    pub fn start(self) -> RedisServer {
        RedisServer::launch(self)
    }

    /// The configuration file.
    pub(crate) fn config(&self, port: u16, second: u16, dir: &Path) -> String {
        let mut file = "port {port}\nbind 127.0.0.1\ndir {dir}\n".to_owned();
        if !self.sentinel {
            file += "save \"\"\n";
        }
        file += &self.lines.join("\n");
        file += "\n";
        file.replace("{port}", &port.to_string())
            .replace("{second}", &second.to_string())
            .replace("{dir}", dir.to_str().expect("a plain path"))
    }
}
