//! Where connections come from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How much of an IPv6 address tells one host from another: whoever has a network has the rest (RFC 4291, section 2.5.4).
const NETWORK: u128 = u128::MAX << 64;

/// Where a connection comes from: an address of IPv4, or a network of IPv6. `None` by a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Option<IpAddr>);

impl Source {
    /// Returns the source of a connection from this address, if it has one.
    #[must_use]
    pub fn of(address: Option<SocketAddr>) -> Self {
        Self(address.map(|address| match address.ip().to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & NETWORK)),
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ip: &str) -> Source {
        Source::of(Some(SocketAddr::new(ip.parse().unwrap(), 1)))
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.1"), Source::of(None));
    }
}
