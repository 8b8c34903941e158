//! A TCP proxy in front of one Redis server. It recognizes whether a connection comes from a
//! replica, a sentinel or a client. A test can therefore cut one kind and leave the others alone,
//! although the server has the same address for all of them: sentinels give replicas and clients
//! the same address.
//!
//! Over TLS the proxy recognizes no peer, and treats every connection as a client's.
//!
//! A cut works like a partition of the network. Connections stay open, but nothing passes in either
//! direction. New connections are accepted but get no answer. When the cut is healed, the
//! connections that it affected end.
//!
//! The proxy has a thread of its own, so that tests that block, and tests that share it, don't stop
//! it. As in a network, data that a server sent before it was killed may be lost.

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

/// The traffic that is cut, by the ports of the links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Servers that neither replicate from another server nor are replicated.
    pub replication: BTreeSet<u16>,
    /// Servers that no sentinel reaches.
    pub sentinels: BTreeSet<u16>,
    /// Servers that no client reaches.
    pub clients: BTreeSet<u16>,
}

/// The kind of peer that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// A replica, with the port that it announces.
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

/// A link. It works until it is dropped.
pub struct Link {
    port: u16,
    upstream: Arc<AtomicU16>,
    _end: oneshot::Sender<()>,
}

impl Link {
    /// Returns a link that has no target yet.
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

    /// Returns the port that the link listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the port that the link forwards to.
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

/// Forwards one connection until it ends or is cut.
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

/// Forwards the first commands, which any kind of peer may send, until the peer is recognized.
/// Returns the peer and the data that wasn't forwarded.
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

/// Returns which kind of peer sends this command, or `None` if every kind may send it.
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
