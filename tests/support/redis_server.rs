//! A Redis of a test's own, on a free port, without persistence, gone when it is dropped.
//!
//! The server is `$REDIS_SERVER`, else `.tools/bin/redis-server` in this repository, else the one in
//! `PATH`. A test that has none fails.

#![allow(dead_code, reason = "each test uses a part of this")]

use std::{
    env,
    ffi::OsString,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long the server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct RedisServer {
    process: Child,
    port: u16,
    options: Vec<String>,
    folder: TempDir,
}

impl RedisServer {
    /// Returns when it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more options, as on its command line: `&["--maxmemory", "8mb"]`.
    pub fn start_with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let folder = TempDir::with_prefix("redis-").expect("a temporary folder");
        // Another process may take the port between the choice and the start.
        for _ in 0..20 {
            let port = free_port();
            let mut process = spawn(port, &options, folder.path());
            if answers(port, &mut process) {
                return Self {
                    process,
                    port,
                    options,
                    folder,
                };
            }
            _ = process.kill();
            _ = process.wait();
        }
        panic!("redis-server does not start");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A connection that the test speaks over, not the code under test.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .expect("a connection")
    }

    /// As if the machine went away. What it held is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("a process that runs");
        self.process.wait().expect("its end");
    }

    /// Again on the same port, empty, after [`RedisServer::kill`].
    pub fn restart(&mut self) {
        self.process = spawn(self.port, &self.options, self.folder.path());
        assert!(answers(self.port, &mut self.process), "the port is taken");
    }

    /// It keeps its connections and answers nothing, until [`RedisServer::resume`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// A port that nobody listens on right now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn program() -> OsString {
    if let Some(program) = env::var_os("REDIS_SERVER") {
        return program;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/redis-server");
    if own.exists() {
        own.into_os_string()
    } else {
        "redis-server".into()
    }
}

fn spawn(port: u16, options: &[String], folder: &Path) -> Child {
    let program = program();
    Command::new(&program)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// Waits until this very process answers on the port; `false` if it ended.
fn answers(port: u16, process: &mut Child) -> bool {
    let client = redis::Client::open(("127.0.0.1", port)).expect("an address");
    let begun = Instant::now();
    loop {
        if process.try_wait().expect("its state").is_some() {
            return false;
        }
        let info = client
            .get_connection_with_timeout(Duration::from_secs(1))
            .and_then(|mut connection| redis::cmd("INFO").arg("server").query(&mut connection));
        let own = format!("process_id:{}\r", process.id());
        if info.is_ok_and(|info: String| info.contains(&own)) {
            return true;
        }
        assert!(begun.elapsed() < PATIENCE, "redis-server does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
}
