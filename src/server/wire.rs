//! The connection to a client, as the kernel has it: by TCP or by a Unix socket.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

use crate::types::{Address, Channel, Source};

/// A connection that was accepted.
#[derive(Debug)]
pub(super) enum Wire {
    /// The address is the other end's. The kernel knows it no more once the connection is reset, and what came before is still
    /// read then.
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// A connection on its way to another thread.
pub(super) enum Parcel {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// What carries HTTP/2.
pub(super) enum Transport {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

impl Wire {
    /// Takes the connection away from this thread's runtime.
    pub fn pack(self) -> io::Result<Parcel> {
        match self {
            Self::Tcp(stream, peer) => Ok(Parcel::Tcp(stream.into_std()?, peer)),
            Self::Unix(stream) => stream.into_std().map(Parcel::Unix),
        }
    }

    /// Returns how what isn't encrypted travels over this connection.
    pub fn channel(&self) -> Channel {
        let Self::Tcp(stream, peer) = self else {
            return Channel::Unix;
        };
        let is_here = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        if is_here(peer) && stream.local_addr().is_ok_and(|own| is_here(&own)) {
            Channel::Loopback
        } else {
            Channel::Network
        }
    }

    /// Returns where the other end is.
    pub fn peer(&self) -> Option<Address> {
        match self {
            Self::Tcp(_, peer) => Some(Address::Tcp(*peer)),
            Self::Unix(stream) => stream.peer_cred().ok().map(|peer| Address::Unix {
                uid: peer.uid(),
                // 0 is a process that can't be seen from here.
                pid: peer.pid().filter(|pid| *pid != 0),
            }),
        }
    }

    /// Returns where the connection comes from.
    pub fn source(&self) -> Source {
        match self {
            Self::Tcp(_, peer) => Source::of(Some(*peer)),
            Self::Unix(_) => Source::of(None),
        }
    }

    /// A small answer must not wait for the client's acknowledgement of earlier ones.
    pub fn send_at_once(&self) {
        if let Self::Tcp(stream, _) = self {
            // If this fails, the socket is broken, and its first use fails too.
            stream.set_nodelay(true).ok();
        }
    }
}

impl Parcel {
    /// Gives the connection to this thread's runtime.
    pub fn unpack(self) -> io::Result<Wire> {
        match self {
            Self::Tcp(stream, peer) => Ok(Wire::Tcp(TcpStream::from_std(stream)?, peer)),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Wire::Unix),
        }
    }
}

/// Calls a method of whichever stream there is.
macro_rules! each {
    ($self:expr, $type:ident: $first:ident | $second:ident, $method:ident $arguments:tt) => {
        match $self.get_mut() {
            $type::$first(stream, ..) => Pin::new(stream).$method $arguments,
            $type::$second(stream) => Pin::new(stream).$method $arguments,
        }
    };
}

macro_rules! carry {
    ($type:ident: $first:ident | $second:ident) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                each!(self, $type: $first | $second, poll_read(cx, buf))
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                each!(self, $type: $first | $second, poll_write(cx, buf))
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self, $type: $first | $second, poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self, $type: $first | $second, poll_shutdown(cx))
            }
        }
    };
}

carry!(Wire: Tcp | Unix);
carry!(Transport: Plain | Tls);

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A bearer token that came over loopback did so, also if its sender has reset the connection since.
    #[tokio::test]
    async fn a_connection_that_is_reset_came_from_where_it_came() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let from = client.local_addr().unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        // What isn't read when a socket is closed resets the connection.
        let mut wire = Wire::Tcp(stream, peer);
        wire.write_all(b"x").await.unwrap();
        client.peek(&mut [0]).unwrap();
        drop(client);
        let read = wire.read(&mut [0]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        if let Wire::Tcp(stream, _) = &wire {
            stream.peer_addr().expect_err("the kernel knows it no more");
        }
        assert_eq!(wire.channel(), Channel::Loopback);
        assert_eq!(wire.peer(), Some(Address::Tcp(from)));
    }
}
