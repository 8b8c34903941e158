//! A real Redis for a test: on a free port, in a directory of its own, gone when the test is,
//! however it ends.
//!
//! The server is `$REDIS_SERVER`, else `.tools/bin/redis-server` in this repository, else the one in
//! `PATH`. A test that has none fails.
#![allow(dead_code, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the server and ends it, with its directory, when its own standard input ends: also when the
/// test process is killed, and for servers in statics, which nobody drops. The line `keep` leaves
/// the directory.
const KEEPER: &str = r#"
trap '' INT TERM HUP
dir=$1; shift
"$@" >>"$dir/log" 2>&1 </dev/null &
echo $!
read -r order
kill -KILL $! 2>/dev/null
wait $! 2>/dev/null
[ "$order" = keep ] || rm -rf "$dir"
"#;

/// A running `redis-server`, or one that was killed and can be restarted.
pub struct RedisServer {
    running: Option<Running>,
    port: u16,
    dir: PathBuf,
    config: Vec<String>,
}

struct Running {
    keeper: Child,
    orders: ChildStdin,
    pid: u32,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more configuration, as in `["--maxmemory", "20mb"]`.
    pub fn start_with(config: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let mut server = Self {
            running: None,
            port: 0,
            dir,
            config: config.iter().map(ToString::to_string).collect(),
        };
        // Somebody else may take the port before the server does.
        for _ in 0..10 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server doesn't start: {}", server.log());
    }

    /// The server that the tests of this process share: each has a tenant of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// `redis://127.0.0.1:<port>/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The port, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection that the test speaks over, not the code under test.
    pub fn raw(&self) -> redis::Connection {
        self.try_raw().unwrap()
    }

    /// As [`RedisServer::raw`], for those who await.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let client = redis::Client::open(self.url()).unwrap();
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        connection.await.unwrap()
    }

    /// Stops the process where it is (SIGSTOP): connections stay open, nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
        wait_until("the server stops", || self.state() == Some('T'));
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills the process (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.orders.write_all(b"keep\n").ok();
            running.keeper.wait().unwrap();
        }
    }

    /// Starts a killed server again, on the same port and directory.
    pub fn restart(&mut self) {
        self.kill();
        assert!(
            self.launch(),
            "redis-server doesn't restart: {}",
            self.log()
        );
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn launch(&mut self) -> bool {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.dir)
            .arg(binary())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--dir"])
            .arg(&self.dir)
            .args(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take().unwrap();
        let mut pid = String::new();
        let mut output = BufReader::new(keeper.stdout.take().unwrap());
        output.read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap();
        self.running = Some(Running {
            keeper,
            orders,
            pid,
        });

        let mut up = false;
        wait_until("the server starts or ends", || {
            up = self.is_this_process();
            up || matches!(self.state(), None | Some('Z'))
        });
        if !up {
            self.kill();
        }
        up
    }

    /// Whether the port belongs to this very process.
    fn is_this_process(&self) -> bool {
        let Ok(mut connection) = self.try_raw() else {
            return false;
        };
        let info = redis::cmd("INFO").arg("server").query(&mut connection);
        let info: String = info.unwrap_or_default();
        let pid = self.running.as_ref().map(|running| running.pid);
        pid.is_some_and(|pid| info.contains(&format!("process_id:{pid}\r\n")))
            && redis::cmd("PING").exec(&mut connection).is_ok()
    }

    fn try_raw(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(PATIENCE)
    }

    fn signal(&self, name: &str) {
        let pid = self.running.as_ref().unwrap().pid;
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(sent.unwrap().success(), "SIG{name} to {pid}");
    }

    /// The state of the process as in `ps`; `None` if there is none.
    fn state(&self) -> Option<char> {
        let pid = self.running.as_ref()?.pid;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(Running {
            mut keeper, orders, ..
        }) = self.running.take()
        {
            drop(orders);
            keeper.wait().ok();
        } else {
            fs::remove_dir_all(&self.dir).ok();
        }
    }
}

/// A port that nobody listens on right now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn binary() -> PathBuf {
    if let Some(path) = env::var_os("REDIS_SERVER") {
        return path.into();
    }
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/redis-server");
    if tool.exists() {
        tool
    } else {
        "redis-server".into()
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
