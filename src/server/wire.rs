//! The connection to a client, as the kernel has it: by TCP or by a Unix socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::source::Source;
use crate::types::{Address, Channel};

/// A connection that was accepted.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection on its way to another thread.
pub(super) enum Parcel {
    Tcp(std::net::TcpStream),
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
            Self::Tcp(stream) => stream.into_std().map(Parcel::Tcp),
            Self::Unix(stream) => stream.into_std().map(Parcel::Unix),
        }
    }

    /// Returns how what isn't encrypted travels over this connection.
    pub fn channel(&self) -> Channel {
        let Self::Tcp(stream) = self else {
            return Channel::Unix;
        };
        let is_here = |address: io::Result<std::net::SocketAddr>| {
            address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
        };
        if is_here(stream.peer_addr()) && is_here(stream.local_addr()) {
            Channel::Loopback
        } else {
            Channel::Network
        }
    }

    /// Returns where the other end is.
    pub fn peer(&self) -> Option<Address> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(Address::Tcp),
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
            Self::Tcp(stream) => Source::of(stream.peer_addr().ok()),
            Self::Unix(_) => Source::of(None),
        }
    }

    /// Returns the addresses of both ends, if they have any.
    pub fn connect_info(&self) -> Option<TcpConnectInfo> {
        match self {
            Self::Tcp(stream) => Some(stream.connect_info()),
            Self::Unix(_) => None,
        }
    }

    /// A small answer must not wait for the client's acknowledgement of earlier ones.
    pub fn send_at_once(&self) {
        if let Self::Tcp(stream) = self {
            // If this fails, the socket is broken, and its first use fails too.
            stream.set_nodelay(true).ok();
        }
    }
}

impl Parcel {
    /// Gives the connection to this thread's runtime.
    pub fn unpack(self) -> io::Result<Wire> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Wire::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Wire::Unix),
        }
    }
}

/// Calls a method of whichever stream there is.
macro_rules! each {
    ($self:expr, $type:ident: $first:ident | $second:ident, $method:ident $arguments:tt) => {
        match $self.get_mut() {
            $type::$first(stream) => Pin::new(stream).$method $arguments,
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
