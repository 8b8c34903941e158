//! Which setting is wrong, where one is. How settings are spelled is not known here.

/// A server that the broker connects to, by the settings that are for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A Redis server, which holds data.
    Server,
    /// A sentinel.
    Sentinel,
}

/// The setting that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtFault {
    /// Where Redis is, as which user, and whether over TLS.
    Url,
    /// A password that is given as such.
    Password(Peer),
    /// The file that holds a password.
    PasswordFile(Peer),
    /// One of the settings for TLS.
    Tls(Peer, TlsPart),
    /// The user at the sentinels.
    SentinelUsername,
    /// Whether the sentinels are spoken to over TLS.
    SentinelTls,
}

/// A part of the settings for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// The authorities that may vouch for a server.
    Authorities,
    /// The broker's own certificate.
    Certificate,
    /// The private key of the broker's own certificate.
    Key,
    /// The name that a server's certificate must be for.
    ServerName,
}
