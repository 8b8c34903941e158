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
        Self::at(0).expect("a port is free")
    }

    /// Reserves this port, if it is free. 0 stands for any.
    fn at(number: u16) -> Option<Self> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        let bound = socket.bind(SocketAddr::from(([127, 0, 0, 1], number)));
        bound.ok()?;
        let number = socket.local_addr().unwrap().port();
        Some(Self {
            _bound: socket,
            number,
        })
    }

    /// Reserves a port for a node of a Redis Cluster, and the one by which the others reach it, which is 10,000 higher.
    pub fn of_a_node() -> [Self; 2] {
        let pair = |_| {
            let port = Self::new();
            let bus = Self::at(port.number.checked_add(10_000)?)?;
            Some([port, bus])
        };
        (0..1_000).find_map(pair).expect("two ports are free")
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
