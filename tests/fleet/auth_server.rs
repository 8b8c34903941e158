//! An auth server that redeems refresh tokens itself: the example in Go, as a process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::callers::Got;

/// How long a caller waits for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How the program behaves.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// As the example is.
    Coordinated,
    /// It asks nobody before it sends a refresh token.
    Uncoordinated,
}

impl Kind {
    /// Returns the program, which is built once.
    fn program(self) -> &'static Path {
        static PROGRAMS: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        // The stubs are made once, and also Go then compiles the libraries once.
        static STUBS: OnceLock<()> = OnceLock::new();
        STUBS.get_or_init(|| run(Command::new("buf").arg("generate")));
        PROGRAMS[self as usize].get_or_init(|| {
            let name = format!("auth-server-{self:?}").to_lowercase();
            let program = example().join("build").join(name);
            let mut build = Command::new("go");
            build.arg("build").arg("-o").arg(&program);
            let dir = TempDir::new().unwrap();
            if let Self::Uncoordinated = self {
                let flawed = root().join("tests/fleet/uncoordinated.go");
                let connect = example().join("connect.go").display().to_string();
                let replace = serde_json::json!({"Replace": {connect: flawed}});
                let overlay = dir.path().join("overlay.json");
                fs::write(&overlay, replace.to_string()).unwrap();
                build.arg("-overlay").arg(overlay);
            }
            run(build.arg("."));
            program
        })
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn example() -> PathBuf {
    root().join("examples/go-auth-server")
}

fn run(command: &mut Command) {
    let tools = root().join(".tools/bin");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let done = command.current_dir(example()).env("PATH", path).output();
    let done = done.expect("buf, which scripts/tools gets, and go");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {told}");
}

/// A running auth server, killed when it is dropped.
pub struct AuthServer {
    child: Child,
    address: SocketAddr,
}

impl AuthServer {
    /// Starts an auth server with these arguments.
    pub fn start(kind: Kind, args: &[String]) -> Self {
        let mut child = Command::new(kind.program())
            .args(["-listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("it listens").unwrap();
        let address = line.strip_prefix("listening on ").unwrap();
        Self {
            child,
            address: address.parse().unwrap(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for the access token of a session. Returns `None` if it makes sense to ask again.
    pub async fn ask(&self, session: &str) -> Option<Got> {
        let form = format!("session={session}&provider=idp");
        let length = form.len();
        let request = format!(
            "POST /token HTTP/1.1\r\nHost: auth\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        );
        let exchanged = async {
            let mut connection = TcpStream::connect(self.address).await?;
            connection.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(DEADLINE, exchanged).await.ok()?.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let told: serde_json::Value = serde_json::from_str(body).ok()?;
        let field = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        match head.split(' ').nth(1)? {
            "200" => Some(Got::Token(field("access_token"))),
            "401" => {
                let reason = field("reason");
                Some(Got::Reauth(reason.replace("REAUTH_REASON_", "")))
            }
            "503" => None,
            _ => panic!("{answer}"),
        }
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        // This fails if it has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
