//! The way to one Redis server, as a TCP proxy that knows who comes along it: a replica, a sentinel
//! or a client. So a test cuts one kind and leaves the others alone, although the server has one
//! address for all of them: sentinels tell replicas and clients the same one.
//!
//! Over TLS nobody is recognized, and all count as clients.
//!
//! What is cut is as in a partition of the network: connections stay open and nothing passes, in
//! either direction; new ones are accepted and get no answer. When the cut is healed they end.
//!
//! It has a thread of its own: tests that block, and tests that share it, don't stop it. What a server
//! sent before it was killed may be lost on the way, as in a network.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::{oneshot, watch},
};

use crate::resp_proxy::parse;

/// What doesn't pass, by the ports of links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Servers that replicate from no other, and no other from them.
    pub replication: BTreeSet<u16>,
    /// Servers that no sentinel reaches.
    pub sentinels: BTreeSet<u16>,
    /// Servers that no client reaches.
    pub clients: BTreeSet<u16>,
}

/// Who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// The replica that announces this port.
    Replica(u16),
    Sentinel,
    Client,
}

impl Cuts {
    fn hold(&self, peer: Peer, link: u16) -> bool {
        match peer {
            Peer::Replica(from) => {
                self.replication.contains(&from) || self.replication.contains(&link)
            }
            Peer::Sentinel => self.sentinels.contains(&link),
            Peer::Client => self.clients.contains(&link),
        }
    }
}

/// A link, until it is dropped.
pub struct Link {
    port: u16,
    upstream: Arc<AtomicU16>,
    _end: oneshot::Sender<()>,
}

impl Link {
    /// A link that leads nowhere yet.
    pub fn new(cuts: &watch::Sender<Cuts>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = Arc::<AtomicU16>::default();
        let (end, ended) = oneshot::channel();
        let (leads, cuts) = (Arc::clone(&upstream), cuts.subscribe());
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, port, &leads, cuts) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            port,
            upstream,
            _end: end,
        }
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes it lead to this port.
    pub fn lead_to(&self, port: u16) {
        self.upstream.store(port, Ordering::SeqCst);
    }
}

async fn accept(
    listener: TcpListener,
    link: u16,
    upstream: &AtomicU16,
    cuts: watch::Receiver<Cuts>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let upstream = upstream.load(Ordering::SeqCst);
        let cuts = cuts.clone();
        tokio::spawn(async move { serve(client, upstream, link, cuts).await.ok() });
    }
}

/// Passes on what is said over one connection, until it ends or has been cut.
async fn serve(
    mut client: TcpStream,
    upstream: u16,
    link: u16,
    mut cuts: watch::Receiver<Cuts>,
) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (peer, said) = hear(&mut client, &mut server).await?;
    let passing = async {
        server.write_all(&said).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    let cut = async { cuts.wait_for(|cuts| cuts.hold(peer, link)).await.is_ok() };
    tokio::select! {
        biased;
        true = cut => {}
        _ = passing => return Ok(()),
    }
    cuts.wait_for(|cuts| !cuts.hold(peer, link)).await.ok();
    Ok(())
}

/// Passes on what any peer may say first, until it says who it is; gives that, and what was not
/// passed on.
async fn hear(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<(Peer, Vec<u8>)> {
    let (mut said, mut answer) = (Vec::new(), [0; 1024]);
    loop {
        tokio::select! {
            read = client.read_buf(&mut said) => {
                if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            read = server.read(&mut answer) => {
                let read = read?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                client.write_all(&answer[..read]).await?;
            }
        }
        let mut at = 0;
        if said.first().is_some_and(|&first| first != b'*') {
            return Ok((Peer::Client, said));
        }
        while let Some((args, length)) = parse(&said[at..]) {
            if let Some(peer) = recognize(&args) {
                return Ok((peer, said));
            }
            at += length;
        }
        server.write_all(&said[..at]).await?;
        said.drain(..at);
    }
}

/// Who says this; nobody knows of a command that all of them say.
fn recognize(args: &[Vec<u8>]) -> Option<Peer> {
    let arg = |at: usize| args.get(at).map(|arg| String::from_utf8_lossy(arg));
    match arg(0)?.to_uppercase().as_str() {
        "PING" | "AUTH" => None,
        "REPLCONF" => {
            let port = arg(2)?.parse().ok();
            Some(Peer::Replica(port.unwrap_or_default()))
        }
        "CLIENT" if arg(2)?.starts_with("sentinel-") => Some(Peer::Sentinel),
        _ => Some(Peer::Client),
    }
}
