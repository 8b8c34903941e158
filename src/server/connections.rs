//! Accepts connections. Limits how many are open, and how long a connection may be silent.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{self, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_io_timeout::TimeoutStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::config::ServerOptions;

/// How long to wait after accepting a connection failed, for example because no file descriptor was
/// left.
const PAUSE: Duration = Duration::from_millis(50);

/// Returns the connections to `listener`. A connection that is silent for the idle timeout is closed.
/// HTTP/2 pings keep live connections from being silent, so a silent connection is half open or never
/// spoke HTTP/2.
pub(super) fn accept(
    listener: TcpListener,
    options: ServerOptions,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(options.max_connections));
    stream::unfold((listener, places), move |(listener, places)| async move {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    let connection = Connection::new(stream, remote, place, options.idle_timeout);
                    return Some((Ok(connection), (listener, places)));
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

/// An accepted connection and its place among the connections that may be open.
pub(super) struct Connection {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    remote: SocketAddr,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: TcpStream,
        remote: SocketAddr,
        place: OwnedSemaphorePermit,
        idle: Duration,
    ) -> Self {
        // A small response must not wait for the client's acknowledgement of earlier ones. If this
        // fails, the socket is broken, and its first use fails too.
        stream.set_nodelay(true).ok();
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(idle));
        stream.set_write_timeout(Some(idle));
        Self {
            stream: Box::pin(stream),
            remote,
            _place: place,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.stream.get_ref().local_addr().ok(),
            remote_addr: Some(self.remote),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
