//! A port that is kept for a server, also before it starts and while it is down.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of 127.0.0.1. Until this is dropped, nobody gets it who asks for any port, and connections to it are refused
/// while no server listens there. A server that is told to listen there can, if it allows that the address is in use
/// (`SO_REUSEADDR`), as servers do.
pub struct ReservedPort {
    _bound: TcpSocket,
    number: u16,
}

impl ReservedPort {
    /// Reserves a free port.
    #[expect(
        clippy::new_without_default,
        reason = "it takes something of the machine"
    )]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let number = socket.local_addr().unwrap().port();
        Self {
            _bound: socket,
            number,
        }
    }

    /// Returns the port.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns the port with its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.number))
    }
}
