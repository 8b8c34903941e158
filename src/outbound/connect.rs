//! One connection to another service: TCP, through a proxy where one is set, and TLS.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{Endpoint, Fault, Proxy, basic};
use crate::types::{Secret, SecretBytes};

/// The longest answer of a proxy that is read.
const PROXY_ANSWER: usize = 8192;

/// How another service is reached.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    /// Whom it is vouched for by, and the certificate that it is shown. Only `https` needs it.
    pub tls: Option<&'a Arc<ClientConfig>>,
    /// The proxy that leads to it.
    pub proxy: Option<&'a Proxy>,
    /// The user and password for the proxy, with a colon between them.
    pub proxy_credentials: Option<&'a Secret>,
}

/// A connection on which nothing of the request was sent yet.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// It was found closed.
    Ended,
}

impl Connection {
    /// Connects to `endpoint` within `limit`.
    ///
    /// # Errors
    /// Returns why there is no connection.
    pub async fn open(endpoint: &Endpoint, way: Way<'_>, limit: Duration) -> Result<Self, Fault> {
        let until = Instant::now() + limit;
        let opened = timeout_at(until, async {
            let next = way.proxy.map_or(endpoint, Proxy::address);
            let mut stream = dial(next, until).await?;
            if way.proxy.is_some() {
                tunnel(&mut stream, endpoint, way.proxy_credentials).await?;
            }
            match (endpoint.is_tls(), way.tls) {
                (true, Some(tls)) => shake_hands(stream, endpoint, tls).await,
                (true, None) => Err(Fault::TlsFailed),
                (false, _) => Ok(Self::Plain(stream)),
            }
        });
        opened.await.unwrap_or(Err(Fault::ConnectTimeout))
    }

    /// Whether the other end has ended the connection, as far as is known here. Nothing was sent, so that one that
    /// says something nevertheless, such as 408, is about to end it.
    ///
    /// Reads instead of peeking: in TLS, tickets and the notice of the end come before the end of the stream.
    pub fn is_closed(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = [0];
        let read = Pin::new(&mut *self).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        let is_closed = read.is_ready();
        if is_closed {
            *self = Self::Ended;
        }
        is_closed
    }
}

/// Connects to the first address of a host that answers. The addresses share the time that is left.
async fn dial(endpoint: &Endpoint, until: Instant) -> Result<TcpStream, Fault> {
    let found = lookup_host((endpoint.host(), endpoint.port())).await;
    let addresses: Vec<SocketAddr> = found.map_err(|_| Fault::NameNotFound)?.collect();
    let mut fault = Fault::NameNotFound;
    for (at, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        fault = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|_| Fault::ConnectFailed)?;
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Fault::ConnectionRefused
            }
            Ok(Err(_)) => Fault::ConnectFailed,
            Err(_) => Fault::ConnectTimeout,
        };
    }
    Err(fault)
}

/// Asks a proxy for a connection to `endpoint` (RFC 9110, section 9.3.6).
async fn tunnel(
    stream: &mut TcpStream,
    endpoint: &Endpoint,
    credentials: Option<&Secret>,
) -> Result<(), Fault> {
    let failed = |_| Fault::ProxyFailed;
    let target = match endpoint.host() {
        host if host.contains(':') => format!("[{host}]:{}", endpoint.port()),
        host => format!("{host}:{}", endpoint.port()),
    };
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    let mut request = SecretBytes::new(request.into_bytes());
    if let Some(pair) = credentials {
        let (user, password) = pair.expose().split_once(':').ok_or(Fault::ProxyFailed)?;
        let value = basic(user, std::iter::once(password)).map_err(|_| Fault::ProxyFailed)?;
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(failed)?;
    // The other end speaks after the client, so nothing behind the head is lost.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_ANSWER {
            return Err(Fault::ProxyFailed);
        }
        head.push(stream.read_u8().await.map_err(failed)?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1);
    match status {
        Some([b'2', _, _]) if head.starts_with(b"HTTP/1.") => Ok(()),
        _ => Err(Fault::ProxyFailed),
    }
}

async fn shake_hands(
    stream: TcpStream,
    endpoint: &Endpoint,
    tls: &Arc<ClientConfig>,
) -> Result<Connection, Fault> {
    let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|_| Fault::NameNotFound)?;
    let connector = TlsConnector::from(Arc::clone(tls));
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(Connection::Tls(Box::new(stream))),
        Err(error) => Err(super::tls::fault(&error)),
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Ended => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Ended => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Ended => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Ended => Poll::Ready(Ok(())),
        }
    }
}
