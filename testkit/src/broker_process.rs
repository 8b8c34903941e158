//! A real broker for a test: the program in a process of its own, on a free port.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{tree, waiting::found};

/// How long a broker may take to listen, and then to serve.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `token-broker`, killed when it is dropped.
pub struct BrokerProcess {
    child: Child,
    address: SocketAddr,
    log: Log,
    /// Reads the log to its end.
    follower: Option<JoinHandle<()>>,
}

/// How a broker ended.
#[derive(Debug)]
pub struct Ended {
    /// With which code or signal.
    pub status: ExitStatus,
    /// Everything that it logged.
    pub log: String,
}

impl Ended {
    /// Returns whether it ended in order.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// Returns a command that runs the program. Settings in the environment of the test don't reach it.
pub fn program() -> Command {
    let mut program = Command::new(tree::broker_program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOKEN_BROKER_") {
            program.env_remove(name);
        }
    }
    program
}

/// Runs a command to its end.
pub async fn output(mut command: Command) -> Output {
    let done = tokio::task::spawn_blocking(move || command.output());
    done.await.unwrap().expect("the program runs")
}

/// The log that the process has written so far.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl BrokerProcess {
    /// Starts a broker with these arguments, and waits until it listens. The address and the log
    /// settings are added to the arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::run(program(), &[], args, Stdio::null())
    }

    /// Like [`start`](Self::start), but listens where the arguments say, and says nothing of its address.
    pub fn listening_at(args: &[&str], place: &str) -> Self {
        Self::run(program(), &[place], args, Stdio::null())
    }

    /// Starts a broker that may have this many file descriptors open.
    pub fn start_with_descriptors(most: u32, args: &[&str]) -> Self {
        let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        let plain = program();
        let mut shell = Command::new("sh");
        shell.args(["-c", &limited]).arg(plain.get_program());
        for (name, _) in plain.get_envs() {
            shell.env_remove(name);
        }
        Self::run(shell, &[], args, Stdio::null())
    }

    /// Like [`start`](Self::start), but the standard output goes where the test says.
    pub fn printing_to(stdout: impl Into<Stdio>, args: &[&str]) -> Self {
        Self::run(program(), &[], args, stdout.into())
    }

    /// Starts a broker that another program is.
    pub fn of(program: Command, args: &[&str]) -> Self {
        Self::run(program, &[], args, Stdio::null())
    }

    fn run(mut program: Command, place: &[&str], args: &[&str], stdout: Stdio) -> Self {
        let place = place.first().unwrap_or(&"127.0.0.1:0");
        let mut child = program
            .args(["--listen", place, "--log-format", "json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::default();
        let (found, address) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        let own = log.clone();
        let follower = thread::spawn(move || own.follow(stderr, &found));
        match address.recv_timeout(PATIENCE) {
            Ok(address) => Self {
                child,
                address,
                log,
                follower: Some(follower),
            },
            Err(_) => {
                child.kill().ok();
                child.wait().ok();
                panic!("the broker doesn't listen; its log:\n{}", log.text());
            }
        }
    }

    /// Starts a broker that keeps its rows in the Redis at `url`.
    pub fn on_redis(url: &str) -> Self {
        Self::start(&["--backend", "redis", "--redis-url", url])
    }

    /// Returns the address that the broker listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit code, once the broker has ended.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap()?.code()
    }

    /// Returns what has come of the log so far. The broker writes it in the background: the line about something that has
    /// happened may be on its way still. A test that expects one waits with [`tells`](Self::tells), or looks at what
    /// [`terminate`](Self::terminate) returns.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until a line of the log has this text. Returns the first one.
    pub async fn tells(&self, text: &str) -> String {
        let line = || {
            let log = self.log.0.lock().unwrap();
            log.iter().find(|line| line.contains(text)).cloned()
        };
        found(&format!("the log tells: {text}"), line).await
    }

    /// Returns an address that the line `serving` of the log has under this name.
    pub fn logged_address(&self, name: &str) -> SocketAddr {
        let serving = |line: &str| {
            let json: serde_json::Value = serde_json::from_str(line).ok()?;
            json["fields"][name].as_str()?.parse().ok()
        };
        self.log().lines().find_map(serving).unwrap()
    }

    /// Returns the metrics, which the arguments have to have served.
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.logged_address("metrics_address")).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Returns a count among the metrics, whose line begins with `name`, if it is there.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let page = self.metrics();
        let figure = page.lines().find_map(|line| line.strip_prefix(name))?;
        Some(figure.trim().parse().unwrap())
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.unwrap().success(), "{kill}");
    }

    /// Opens a new connection to the broker.
    pub async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.tcp_nodelay(true).connect().await.unwrap()
    }

    /// Returns a client with a connection of its own.
    pub async fn client(&self) -> TokenBrokerClient<Channel> {
        TokenBrokerClient::new(self.connect().await)
    }

    /// Waits until the broker reports that it serves.
    pub async fn serving(&self) {
        let told = async {
            let mut health = HealthClient::new(self.connect().await);
            let watch = health.watch(HealthCheckRequest::default()).await;
            let mut watch = watch.unwrap().into_inner();
            while let Some(state) = watch.message().await.unwrap() {
                if state.status() == ServingStatus::Serving {
                    return;
                }
            }
            panic!("the broker stopped; its log:\n{}", self.log());
        };
        let waited = tokio::time::timeout(PATIENCE, told).await;
        waited.unwrap_or_else(|_| panic!("the broker doesn't serve; its log:\n{}", self.log()));
    }

    /// Sends SIGTERM if the broker still runs, and waits until it has ended.
    pub fn terminate(mut self) -> Ended {
        if self.child.try_wait().unwrap().is_none() {
            self.signal("TERM");
        }
        let status = self.child.wait().unwrap();
        self.follower.take().unwrap().join().unwrap();
        let log = self.log.text();
        Ended { status, log }
    }

    /// Like [`terminate`](Self::terminate), while the test's other tasks go on.
    pub async fn ended(self) -> Ended {
        let ended = tokio::task::spawn_blocking(|| self.terminate());
        ended.await.unwrap()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // This fails if the broker has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Log {
    /// Reads the log to its end. Sends the address from the line that says "serving".
    fn follow(&self, stderr: ChildStderr, found: &mpsc::Sender<SocketAddr>) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let fields = &json["fields"];
            self.0.lock().unwrap().push(line);
            if fields["message"] == "serving"
                && let Some(address) = fields["address"].as_str()
            {
                // A Unix socket has no address.
                let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
                found.send(address.parse().unwrap_or(nowhere)).ok();
            }
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}
