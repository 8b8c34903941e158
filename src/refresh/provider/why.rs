//! Why a call to a provider failed.

use std::fmt;

use super::Code;

/// Why a call to a provider failed. It can be logged: nothing in it is text that the provider wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The host's name has no address.
    NameNotFound,
    /// Nothing listens there.
    ConnectionRefused,
    /// Connecting took longer than `connect-timeout`.
    ConnectTimeout,
    /// Connecting failed in another way.
    ConnectFailed,
    /// The proxy didn't open the connection.
    ProxyFailed,
    /// The provider's certificate has expired, or isn't valid yet.
    CertificateExpired,
    /// No trusted authority vouches for the provider's certificate.
    CertificateUntrusted,
    /// The provider's certificate is for another name.
    CertificateForAnotherName,
    /// The provider refused the client's certificate, or asked for one.
    ClientCertificateRefused,
    /// The TLS handshake failed in another way.
    TlsFailed,
    /// The metadata couldn't be fetched or read.
    DiscoveryFailed,
    /// There is no metadata at the issuer's addresses.
    NoMetadata,
    /// The metadata is that of another issuer.
    IssuerMismatch,
    /// The metadata names no such endpoint, or one that may not be called.
    NoEndpoint,
    /// The connection ended before the request was written whole.
    ConnectionClosed,
    /// No answer came within `timeout`.
    Timeout,
    /// The connection ended before there was an answer.
    ConnectionLost,
    /// The connection ended in the middle of the answer.
    CutOff,
    /// The answer is larger than the broker reads.
    TooLarge,
    /// The answer has this HTTP status, and says no more that could be understood.
    Status(u16),
    /// The answer has this HTTP status, which the settings take for one of who has seen no token.
    NotRedeemedStatus(u16),
    /// The answer is a success that can't be read.
    Unreadable,
    /// The answer is a success without an access token.
    NoAccessToken,
    /// The answer is an OAuth error with this code.
    Error(Code),
    /// The answer is an OAuth error, and neither standard nor configuration says what its code means.
    UnknownError(Code),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
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
            Self::DiscoveryFailed => "the provider's metadata couldn't be read",
            Self::NoMetadata => "the provider's metadata isn't there (404): is the issuer right?",
            Self::IssuerMismatch => {
                "the provider's metadata is that of another issuer: is the issuer right, letter for letter?"
            }
            Self::NoEndpoint => "the provider's metadata has no such endpoint",
            Self::ConnectionClosed => "the connection ended before the request was sent",
            Self::Timeout => "no answer came in time",
            Self::ConnectionLost => "the connection ended before there was an answer",
            Self::CutOff => "the answer was cut off",
            Self::TooLarge => "the answer is too large",
            Self::Status(status) => return write!(f, "the answer has status {status}"),
            Self::NotRedeemedStatus(status) => {
                return write!(
                    f,
                    "the answer has status {status} and no OAuth error, which says that nothing was redeemed \
                     (not-redeemed-statuses): is the address of the token endpoint right?"
                );
            }
            Self::Unreadable => "the answer can't be read",
            Self::NoAccessToken => "the answer has no access token",
            Self::Error(code) => return write!(f, "the answer is the error {code}"),
            Self::UnknownError(code) => {
                return write!(
                    f,
                    "the answer is the error {code}, and it isn't known what that means: \
                     if the user has to log in again, name the code in refused-codes"
                );
            }
        };
        f.write_str(words)
    }
}
