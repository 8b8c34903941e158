//! A proxy between a client and Redis that sees each command and may end the connection at it, for
//! good. So a test puts a crash, or a write by somebody else, between any two steps.

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

/// What is sent when a connection is opened.
pub const OPENING: [&str; 6] = ["HELLO", "CLIENT", "SELECT", "PING", "ROLE", "INFO"];

/// A command that is about to be forwarded.
#[derive(Clone, Debug)]
pub struct Command {
    /// Which one it is, counted from 1 over all connections; 0 for what opens a connection, which
    /// happens when it happens.
    pub number: usize,
    /// Its name and its arguments.
    pub args: Vec<Vec<u8>>,
}

impl Command {
    /// In capitals.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.args[0]).to_uppercase()
    }
}

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Redis gets it, the client the answer.
    Forward,
    /// Redis gets this one instead.
    Replace(Vec<Vec<u8>>),
    /// Redis doesn't get it.
    CutBefore,
    /// Redis gets it, the client no answer.
    CutAfter,
    /// This connection ends, and only this: Redis doesn't get the command.
    DropBefore,
    /// The same, but Redis gets it.
    DropAfter,
}

type Hook = dyn Fn(Command) -> Pin<Box<dyn Future<Output = Fate> + Send>> + Send + Sync;

/// A proxy before one Redis, until it is dropped.
pub struct RespProxy {
    port: u16,
    commands: Arc<AtomicUsize>,
    cut: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl RespProxy {
    /// A proxy before the Redis on `upstream` that asks `hook` about each command and waits for it.
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

    /// A proxy that only counts.
    pub async fn counting(upstream: u16) -> Self {
        Self::start(upstream, async |_| Fate::Forward).await
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many commands there were, but for those that open a connection.
    pub fn commands(&self) -> usize {
        self.commands.load(Ordering::SeqCst)
    }

    /// Whether it has ended the connections. Then Redis has done all that it was sent.
    pub fn was_cut(&self) -> bool {
        *self.cut.borrow()
    }

    /// Waits for that.
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
        // Redis does what it has got, then sees the end and closes in turn.
        _ = to_server.shutdown().await;
        _ = copy(&mut from_server, &mut tokio::io::sink()).await;
        if for_good {
            _ = cut.send(true);
        }
    }
}

/// Forwards commands until the client ends, or gives the way to Redis back when it is to be cut, and whether that
/// is for good.
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

/// The first command in `buffer` and its length, if it is there whole.
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
