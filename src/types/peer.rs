//! Who is at the other end of a connection, as the transport knows it.

use std::{fmt, net::SocketAddr};

use super::{Right, SpiffeId};

/// The other end of a connection. The server puts it, as an `Arc<Peer>`, into the extensions of each request.
///
/// It says what the transport has shown, and decides nothing: whether the peer is a caller, the policy says.
#[derive(Debug, Clone)]
pub struct Peer {
    /// How the bytes travel.
    pub channel: Channel,
    /// Where the peer is, as far as the kernel knows.
    pub address: Option<Address>,
    /// The client certificate, if the peer has shown one that was verified.
    pub certificate: Option<PeerCertificate>,
    /// How long the certificate is good. Without one it is the right of anybody, which doesn't end.
    pub right: Right,
}

/// Where the other end of a connection is. A client can't make it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A process of this machine, over a Unix socket (`unix(7)`, `SO_PEERCRED`).
    Unix {
        /// The user that it ran as when it connected.
        uid: u32,
        /// Its number, if the kernel tells one that means something to this process. It may have ended since.
        pid: Option<i32>,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { uid, pid: None } => write!(f, "unix:uid={uid}"),
            Self::Unix {
                uid,
                pid: Some(pid),
            } => write!(f, "unix:uid={uid},pid={pid}"),
        }
    }
}

/// How the bytes of a connection travel, and so whether a secret may be read from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Encrypted by TLS.
    Tls,
    /// In plain text, by a Unix socket of this machine.
    Unix,
    /// In plain text, from this machine to itself.
    Loopback,
    /// In plain text, over a network.
    Network,
}

impl Channel {
    /// Whether nobody on a network reads what is sent, so that a bearer token may be taken from it (`docs/guarantees.md`,
    /// section 8).
    pub fn is_private(self) -> bool {
        self != Self::Network
    }
}

/// What a client certificate that was verified says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The SPIFFE id (X.509-SVID, section 2: the only URI of such a certificate). It was verified by the authorities of
    /// its own trust domain.
    pub spiffe_id: Option<SpiffeId>,
    /// The other URIs of the subject's alternative names, as they are written. None beside a SPIFFE id.
    pub uris: Vec<String>,
    /// The DNS names of the subject's alternative names, in lower case. None beside a SPIFFE id: a trust domain vouches for
    /// its own ids, and could otherwise claim any name.
    pub dns_names: Vec<String>,
}
