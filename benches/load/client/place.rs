//! Where a client connects to, and as whom.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A server, and how a client shows who it is.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    /// How to connect over TLS, and with which certificate. `None`: without TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The bearer token that each call has.
    pub(crate) bearer: Option<String>,
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            bearer: None,
        }
    }
}

/// A connection's stream.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn open(place: &Place) -> Self {
        let socket = TcpStream::connect(place.address).unwrap();
        socket.set_nodelay(true).unwrap();
        match &place.tls {
            None => Self::Plain(socket),
            Some(config) => {
                let name = "localhost".try_into().unwrap();
                let client = ClientConnection::new(Arc::clone(config), name).unwrap();
                Self::Tls(Box::new(StreamOwned::new(client, socket)))
            }
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Whether what was written has yet to be sent.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.conn.wants_write())
    }

    /// Whether there may be more to read that the kernel doesn't know of.
    pub(super) fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
