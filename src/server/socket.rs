//! The socket of a connection, with limits on its silence.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_io_timeout::TimeoutStream;

/// How many bytes the beginning of a connection has at least: the preface of HTTP/2, and an empty frame of
/// settings.
const BEGINNING: usize = 24 + 9;

/// The socket of a connection. Reading or writing fails when the client was silent for too long.
pub(super) struct Socket {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    /// `None` when HTTP/2 has begun. From then on its pings find out whether the client is there.
    beginning: Option<Beginning>,
}

/// The beginning of a connection, which the client has to send in time.
struct Beginning {
    missing: usize,
    end: Pin<Box<Sleep>>,
}

impl Socket {
    /// Wraps the socket of a connection, on which no byte may arrive or leave for `idle` at most, and which
    /// has `begin` to begin with HTTP/2.
    pub fn new(stream: TcpStream, begin: Duration, idle: Duration) -> Self {
        // A small response must not wait for the client's acknowledgement of earlier ones. If this
        // fails, the socket is broken, and its first use fails too.
        stream.set_nodelay(true).ok();
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(idle));
        stream.set_write_timeout(Some(idle));
        Self {
            stream: Box::pin(stream),
            beginning: Some(Beginning {
                missing: BEGINNING,
                end: Box::pin(sleep(begin)),
            }),
        }
    }
}

impl Beginning {
    fn poll_is_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.as_mut().poll(cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.stream.as_mut().poll_read(cx, buf);
        let Some(beginning) = &mut self.beginning else {
            return polled;
        };
        let read = buf.filled().len() - before;
        beginning.missing = beginning.missing.saturating_sub(read);
        if beginning.missing == 0 {
            self.beginning = None;
        } else if polled.is_pending() && beginning.poll_is_late(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Socket {
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
