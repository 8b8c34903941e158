//! A real Redis for a test, on a free port and in a directory of its own. It ends with the test,
//! however the test ends.
//!
//! A [`Launch`] says which program it runs and how it is configured.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use redis::{ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo, RedisResult};

use crate::{launch::Launch, private_file::write_private, reserved_port::ReservedPort};

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest that a healthy server takes to answer.
pub const PROMPT: Duration = Duration::from_secs(1);

/// A shell script that runs the server. It stops the server and removes its directory when its own
/// standard input ends. This also happens when the test process is killed, and for servers in
/// statics, which are never dropped. The line `keep` makes it leave the directory.
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

/// A server that runs, or that was killed and can be restarted.
pub struct RedisServer {
    running: Mutex<Option<Running>>,
    port: ReservedPort,
    /// The one by which other nodes of its cluster reach it, if it is one.
    _bus: Option<ReservedPort>,
    second: ReservedPort,
    dir: PathBuf,
    launch: Launch,
}

struct Running {
    keeper: Child,
    orders: ChildStdin,
    pid: u32,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub fn start() -> Self {
        Launch::default().start()
    }

    /// Starts a server with additional arguments, such as `["--maxmemory", "20mb"]`.
    pub fn start_with(config: &[&str]) -> Self {
        let words = config.join(" ");
        let lines = words.split("--").filter(|line| !line.is_empty());
        Launch::default().lines(lines).start()
    }

    /// Starts a server.
    pub(crate) fn launch(launch: Launch) -> Self {
        let (port, bus) = if launch.is_node() {
            let [port, bus] = ReservedPort::of_a_node();
            (port, Some(bus))
        } else {
            (ReservedPort::new(), None)
        };
        let server = Self {
            running: Mutex::default(),
            port,
            _bus: bus,
            second: ReservedPort::new(),
            dir: tempfile::tempdir().unwrap().keep(),
            launch,
        };
        for (name, text) in &server.launch.files {
            write_private(&server.dir.join(name), text);
        }
        let (port, second) = (server.port(), server.second_port());
        let file = server.launch.config(port, second, &server.dir);
        fs::write(server.dir.join("redis.conf"), file).unwrap();
        assert!(server.run(), "the server doesn't start: {}", server.log());
        server
    }

    /// Returns the server that the tests of this process share. Each test has a tenant of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Returns `redis://127.0.0.1:<port>/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port())
    }

    /// Returns the port, which is the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the other port, which replaces `{second}` in the configuration.
    pub fn second_port(&self) -> u16 {
        self.second.number()
    }

    /// Returns the user and password of the test itself, if the server requires a login.
    pub fn login(&self) -> Option<&(String, String)> {
        self.launch.login.as_ref()
    }

    /// Returns the server's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens a connection for the test, independent of the code under test.
    pub fn raw(&self) -> redis::Connection {
        self.try_raw().unwrap()
    }

    /// Returns the client that opens such connections.
    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.info()).unwrap()
    }

    /// Like [`RedisServer::raw`], but async.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let client = self.client();
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        connection.await.unwrap()
    }

    /// Sends a command that a healthy server answers at once.
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        self.ask_within(PATIENCE, command)
    }

    /// Like [`RedisServer::ask`], of a server that may be paused: waits no longer than a healthy one takes.
    pub fn ask_promptly<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        self.ask_within(PROMPT, command)
    }

    fn ask_within<T: FromRedisValue>(
        &self,
        patience: Duration,
        command: &[&str],
    ) -> RedisResult<T> {
        let mut connection = self.client().get_connection_with_timeout(patience)?;
        connection.set_read_timeout(Some(patience))?;
        redis::cmd(command[0])
            .arg(&command[1..])
            .query(&mut connection)
    }

    /// Stops the process (SIGSTOP). Its connections stay open, but it answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
        wait_until("the server stops", || self.state() == Some('T'));
    }

    /// Lets a paused process continue (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills the process (SIGKILL).
    pub fn kill(&self) {
        if let Some(mut running) = self.running.lock().unwrap().take() {
            running.orders.write_all(b"keep\n").ok();
            running.keeper.wait().unwrap();
        }
    }

    /// Starts a killed server again, with the same port and directory.
    pub fn restart(&self) {
        self.kill();
        assert!(self.run(), "the server doesn't restart: {}", self.log());
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn run(&self) -> bool {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.dir)
            .arg(self.launch.program.path())
            .arg(self.dir.join("redis.conf"))
            .args(self.launch.sentinel.then_some("--sentinel"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take().unwrap();
        let mut pid = String::new();
        let mut output = BufReader::new(keeper.stdout.take().unwrap());
        output.read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap();
        *self.running.lock().unwrap() = Some(Running {
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

    /// Returns whether this server's process is the one that listens on the port.
    fn is_this_process(&self) -> bool {
        let Ok(mut connection) = self.try_raw() else {
            return false;
        };
        let info = redis::cmd("INFO").arg("server").query(&mut connection);
        let info: String = info.unwrap_or_default();
        self.pid()
            .is_some_and(|pid| info.contains(&format!("process_id:{pid}\r\n")))
            && redis::cmd("PING").exec(&mut connection).is_ok()
    }

    fn try_raw(&self) -> RedisResult<redis::Connection> {
        self.client().get_connection_with_timeout(PATIENCE)
    }

    fn info(&self) -> ConnectionInfo {
        let mut settings = RedisConnectionInfo::default();
        if let Some((user, password)) = &self.launch.login {
            settings = settings.set_username(user).set_password(password);
        }
        let info = ("127.0.0.1", self.port()).into_connection_info().unwrap();
        info.set_redis_settings(settings)
    }

    fn pid(&self) -> Option<u32> {
        let running = self.running.lock().unwrap();
        running.as_ref().map(|running| running.pid)
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().expect("a process that runs");
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(sent.unwrap().success(), "SIG{name} to {pid}");
    }

    /// Returns the state of the process as `ps` shows it, or `None` if there is no process.
    fn state(&self) -> Option<char> {
        let pid = self.pid()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(Running {
            mut keeper, orders, ..
        }) = self.running.get_mut().unwrap().take()
        {
            drop(orders);
            keeper.wait().ok();
        } else {
            fs::remove_dir_all(&self.dir).ok();
        }
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
