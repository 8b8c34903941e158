//! Why a request over HTTP has no answer.

use std::fmt;

/// Why a request has no answer, or one that can't be read. It can be logged: nothing in it is text that the other end wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host's name has no address.
    NameNotFound,
    /// Nothing listens there.
    ConnectionRefused,
    /// Connecting took too long.
    ConnectTimeout,
    /// Connecting failed in another way.
    ConnectFailed,
    /// The proxy didn't open the connection.
    ProxyFailed,
    /// The certificate has expired, or isn't valid yet.
    CertificateExpired,
    /// No trusted authority vouches for the certificate.
    CertificateUntrusted,
    /// The certificate is for another name.
    CertificateForAnotherName,
    /// The client's certificate was refused, or one was asked for.
    ClientCertificateRefused,
    /// The TLS handshake failed in another way.
    TlsFailed,
    /// No request could be made of its parts.
    NoRequest,
    /// The connection ended before the request was written whole.
    ConnectionClosed,
    /// No answer came in time.
    Timeout,
    /// The connection ended before there was an answer.
    ConnectionLost,
    /// The connection ended in the middle of the answer.
    CutOff,
    /// The answer is larger than the broker reads.
    TooLarge,
    /// The answer isn't HTTP.
    Unreadable,
}

impl Fault {
    /// Returns it in words, as the end of a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NameNotFound => "the host's name has no address",
            Self::ConnectionRefused => "the connection was refused",
            Self::ConnectTimeout => "connecting took too long",
            Self::ConnectFailed => "no connection could be made",
            Self::ProxyFailed => "the proxy didn't open the connection",
            Self::CertificateExpired => "the certificate has expired or isn't valid yet",
            Self::CertificateUntrusted => "no trusted authority vouches for the certificate",
            Self::CertificateForAnotherName => "the certificate is for another name",
            Self::ClientCertificateRefused => "the client certificate was refused",
            Self::TlsFailed => "the TLS handshake failed",
            Self::NoRequest => "no request could be made",
            Self::ConnectionClosed => "the connection ended before the request was sent",
            Self::Timeout => "no answer came in time",
            Self::ConnectionLost => "the connection ended before there was an answer",
            Self::CutOff => "the answer was cut off",
            Self::TooLarge => "the answer is too large",
            Self::Unreadable => "the answer can't be read",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
