//! Which setting is wrong, if one is. This module doesn't know how settings are spelled.

/// The kind of a server. It decides which settings apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A Redis server, which holds data.
    Server,
    /// A sentinel.
    Sentinel,
}

/// A setting that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtFault {
    /// The URL: where Redis is, and whether the connection uses TLS.
    Url,
    /// The user that logs in to Redis, who lacks a right.
    Username,
    /// A password that is in the configuration itself.
    Password(Peer),
    /// The file that holds a password.
    PasswordFile(Peer),
    /// One of the settings for TLS.
    Tls(Peer, TlsPart),
    /// The user that logs in to the sentinels.
    SentinelUsername,
    /// Whether connections to sentinels use TLS.
    SentinelTls,
}

/// A part of the settings for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// The authorities that the broker trusts.
    Authorities,
    /// The broker's own certificate.
    Certificate,
    /// The private key of the broker's own certificate.
    Key,
    /// The name that a server's certificate must be for.
    ServerName,
}
