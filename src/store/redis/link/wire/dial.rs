//! Opening a stream of bytes to an address.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{AtFault, ConnectError, Connector, tls::TlsProblem};
use crate::store::redis::Address;

/// An open stream.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Connector {
    /// Opens a stream to `address`, with TLS if the settings ask for it.
    pub(super) async fn dial(&self, address: &Address) -> Result<Stream, ConnectError> {
        let (host, port) = match address {
            Address::Tcp(host, port) => (host.as_str(), *port),
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                return stream
                    .map(Stream::Unix)
                    .map_err(|error| unreachable(address, &error));
            }
        };
        let stream = tcp(host, port)
            .await
            .map_err(|error| unreachable(address, &error))?;
        let Some(tls) = &self.access.tls else {
            return Ok(Stream::Tcp(stream));
        };
        let wrong =
            |TlsProblem { part, found }| ConnectError::of(AtFault::Tls(self.peer, part), found);
        let (config, name) = (
            tls.read().await.map_err(wrong)?,
            tls.name_for(host).map_err(wrong)?,
        );
        let stream = TlsConnector::from(config).connect(name, stream).await;
        stream
            .map(|stream| Stream::Tls(Box::new(stream)))
            .map_err(|error| ConnectError::at_handshake(self, address, &error))
    }
}

/// Connects to the first of the host's addresses that accepts. Tries them one after the other.
pub(super) async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in lookup_host((host, port)).await? {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address")))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

fn unreachable(address: &Address, error: &io::Error) -> ConnectError {
    let found = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    ConnectError::passing(format!("{address}: {found}"))
}
