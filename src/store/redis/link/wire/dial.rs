//! Opening a stream of bytes to an address.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{AtFault, ConnectError, Connector, tls::TlsProblem};
use crate::store::redis::Address;

/// How long an attempt has before the next address is tried as well.
const HEAD_START: Duration = Duration::from_millis(250);

/// A stream over TCP, with TLS or without.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connector {
    /// Opens a stream to one of the addresses of `address`, with TLS if the settings ask for it.
    pub(super) async fn dial(
        &self,
        address: &Address,
        host: &str,
        at: SocketAddr,
    ) -> Result<Stream, ConnectError> {
        let stream = connect(at)
            .await
            .map_err(|error| unreachable(address, &error))?;
        let Some(tls) = &self.access.tls else {
            return Ok(Stream::Plain(stream));
        };
        let wrong =
            |TlsProblem { part, found }| ConnectError::of(AtFault::Tls(self.peer, part), found);
        let hangs = |hangs| ConnectError::passing(format!("{address}: files of TLS: {hangs}"));
        let (config, name) = (
            tls.read().await.map_err(hangs)?.map_err(wrong)?,
            tls.name_for(host).map_err(wrong)?,
        );
        let stream = TlsConnector::from(config).connect(name, stream).await;
        stream
            .map(|stream| Stream::Tls(Box::new(stream)))
            .map_err(|error| ConnectError::at_handshake(self, address, &error))
    }
}

/// Opens a stream to a Unix socket.
pub(super) async fn unix(address: &Address, path: &Path) -> Result<UnixStream, ConnectError> {
    let stream = UnixStream::connect(path).await;
    stream.map_err(|error| unreachable(address, &error))
}

/// Returns the addresses of a host.
pub(super) async fn resolve(
    address: &Address,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|error| unreachable(address, &error))?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Connects to the first of the host's addresses that accepts.
pub(super) async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?.collect();
    let connected = race(addresses, Duration::ZERO, connect).await;
    connected.map_err(|errors| {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        errors.into_iter().next().unwrap_or_else(none)
    })
}

/// Tries the addresses of a host until an attempt succeeds. An address is tried when the attempts before it have
/// failed, or have taken a part of `limit`. So a server that doesn't answer doesn't hide the next one. All addresses are
/// tried within `limit`.
///
/// # Errors
/// Returns the errors of all attempts.
pub(super) async fn race<T, E, F: Future<Output = Result<T, E>>>(
    addresses: Vec<SocketAddr>,
    limit: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<E>> {
    let shares = u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let head_start = HEAD_START.min(limit / shares);
    let mut waiting = addresses.into_iter();
    let (mut attempts, mut errors) = (FuturesUnordered::new(), Vec::new());
    loop {
        let next = waiting.next();
        let is_last = next.is_none();
        attempts.extend(next.map(&attempt));
        let answer = match is_last {
            true => attempts.next().await,
            false => match timeout(head_start, attempts.next()).await {
                Ok(answer) => answer,
                Err(_) => continue,
            },
        };
        match answer {
            Some(Ok(found)) => return Ok(found),
            Some(Err(error)) => errors.push(error),
            None => return Err(errors),
        }
    }
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
