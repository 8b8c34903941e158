//! A proxy between a client and Redis. It sees each command, and may end the connection for good at any of them. A
//! test can thus put a crash, or another client's write, between any two steps.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// The commands that a client sends when it opens a connection, and while nothing else comes over it.
pub const OPENING: [&str; 7] = ["HELLO", "CLIENT", "SELECT", "PING", "ROLE", "INFO", "TIME"];

/// A command that is about to be forwarded.
#[derive(Clone, Debug)]
pub struct Command {
    /// The number of the command, counted from 1 over all connections. Commands that open a connection have the
    /// number 0, because their order isn't predictable.
    pub number: usize,
    /// The name and the arguments.
    pub args: Vec<Vec<u8>>,
}

impl Command {
    /// Returns the command's name in upper case.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.args[0]).to_uppercase()
    }
}

/// What the proxy does with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Redis gets the command, and the client gets the answer.
    Forward,
    /// Redis gets this command instead.
    Replace(Vec<Vec<u8>>),
    /// All connections end for good. Redis doesn't get the command.
    CutBefore,
    /// All connections end for good. Redis gets the command, but the client gets no answer.
    CutAfter,
    /// Only this connection ends. Redis doesn't get the command.
    DropBefore,
    /// Only this connection ends. Redis gets the command.
    DropAfter,
}

type Hook = dyn Fn(Command) -> Pin<Box<dyn Future<Output = Fate> + Send>> + Send + Sync;

/// A proxy in front of one Redis. It runs until it is dropped.
pub struct RespProxy {
    port: u16,
    commands: Arc<AtomicUsize>,
    cut: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl RespProxy {
    /// Starts a proxy in front of the Redis on the port `upstream`. It asks `hook` about each command and waits for
    /// the decision.
    pub async fn start<F>(
        upstream: u16,
        hook: impl Fn(Command) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Fate> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let commands = Arc::<AtomicUsize>::default();
        let hook: Arc<Hook> = Arc::new(move |command| Box::pin(hook(command)));
        let (cut, was_cut) = watch::channel(false);
        let shared = (Arc::new(cut), Arc::clone(&commands));
        let task = tokio::spawn(async move {
            let mut gone = shared.0.subscribe();
            loop {
                let client = tokio::select! {
                    accepted = listener.accept() => accepted.expect("a connection").0,
                    _ = gone.wait_for(|&gone| gone) => return,
                };
                let (cut, commands) = shared.clone();
                tokio::spawn(serve(client, upstream, Arc::clone(&hook), cut, commands));
            }
        });
        Self {
            port,
            commands,
            cut: was_cut,
            task,
        }
    }

    /// Starts a proxy that only counts commands.
    pub async fn counting(upstream: u16) -> Self {
        Self::start(upstream, async |_| Fate::Forward).await
    }

    /// Returns the port that the proxy listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the number of commands so far, without the ones that open a connection.
    pub fn commands(&self) -> usize {
        self.commands.load(Ordering::SeqCst)
    }

    /// Returns whether the proxy has ended the connections. Redis has then executed all that it got.
    pub fn was_cut(&self) -> bool {
        *self.cut.borrow()
    }

    /// Waits until the proxy has ended the connections.
    pub async fn cut(&self) {
        let mut cut = self.cut.clone();
        cut.wait_for(|&cut| cut).await.expect("a proxy that runs");
    }
}

impl Drop for RespProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    client: TcpStream,
    upstream: u16,
    hook: Arc<Hook>,
    cut: Arc<watch::Sender<bool>>,
    commands: Arc<AtomicUsize>,
) {
    let server = TcpStream::connect(("127.0.0.1", upstream)).await;
    let Ok(server) = server else { return };
    _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let mut gone = cut.subscribe();
    let requests = requests(from_client, to_server, &*hook, &commands);
    let answers = async { _ = copy(&mut from_server, &mut to_client).await };
    let ended = tokio::select! {
        ended = requests => ended,
        () = answers => return,
        _ = gone.wait_for(|&gone| gone) => return,
    };
    if let Some((mut to_server, for_good)) = ended {
        // Redis executes what it has received, then sees the end and closes the connection too.
        _ = to_server.shutdown().await;
        _ = copy(&mut from_server, &mut tokio::io::sink()).await;
        if for_good {
            _ = cut.send(true);
        }
    }
}

/// Forwards commands until the client ends or the connection is cut. If it is cut, returns the connection to Redis,
/// and whether all connections are to be cut for good.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    hook: &Hook,
    commands: &AtomicUsize,
) -> Option<(OwnedWriteHalf, bool)> {
    let mut buffer = Vec::new();
    loop {
        while let Some((args, length)) = parse(&buffer) {
            let mut command = Command { number: 0, args };
            if !OPENING.contains(&command.name().as_str()) {
                command.number = commands.fetch_add(1, Ordering::SeqCst) + 1;
            }
            let fate = hook(command).await;
            match &fate {
                Fate::CutBefore => return Some((to, true)),
                Fate::DropBefore => return Some((to, false)),
                Fate::Replace(args) => to.write_all(&packed(args)).await.ok()?,
                _ => to.write_all(&buffer[..length]).await.ok()?,
            }
            match fate {
                Fate::CutAfter => return Some((to, true)),
                Fate::DropAfter => return Some((to, false)),
                _ => {}
            }
            buffer.drain(..length);
        }
        if from.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn packed(args: &[Vec<u8>]) -> Vec<u8> {
    let mut command = redis::Cmd::new();
    for arg in args {
        command.arg(arg);
    }
    command.get_packed_command()
}

/// Returns the first command in `buffer` and its length, if the command is complete.
pub fn parse(buffer: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = number(buffer, 0, b'*')?;
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, begin) = number(buffer, at, b'$')?;
        args.push(buffer.get(begin..begin + length)?.to_vec());
        at = begin + length + 2;
    }
    (at <= buffer.len()).then_some((args, at))
}

fn number(buffer: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let rest = buffer.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(rest[0], mark, "clients send arrays of strings");
    let digits = std::str::from_utf8(&rest[1..end]).expect("digits");
    Some((digits.parse().expect("a number"), at + end + 2))
}
