//! Why a call to a provider failed.

use std::fmt;

use super::{Authentication, Code};
use crate::outbound::Fault;

/// Why a call to a provider failed. It can be logged: nothing in it is text that the provider wrote, but a [`Code`] that
/// is safe to log.
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
    /// The answer is a success that can't be read, or has a token that no caller may store.
    Unreadable,
    /// The answer is a success without an access token.
    NoAccessToken,
    /// The answer has this HTTP status, and asks to come again later.
    AskedToWait(u16),
    /// The answer is an OAuth error with this code.
    Error(Code),
    /// The answer is an OAuth error whose code says that the provider doesn't accept the client.
    ClientError(Code),
    /// The answer is an OAuth error whose code says that the provider is busy or doesn't work now.
    Busy(Code),
    /// The answer is an OAuth error, and neither standard nor configuration says what its code means.
    UnknownError(Code),
}

/// What a failed call says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The provider, or the broker as its client: other tokens would fare no better.
    Provider,
    /// The one token that was sent. The provider works, and accepts the client.
    Token,
    /// Either: that isn't known.
    Unclear,
}

impl Why {
    /// Returns what the failure says something about.
    #[must_use]
    pub fn concern(&self) -> Concern {
        match self {
            Self::Error(_) | Self::UnknownError(_) => Concern::Token,
            // A gateway that gave up.
            Self::Status(408 | 425 | 429 | 499) => Concern::Provider,
            Self::Status(400..=499) => Concern::Unclear,
            _ => Concern::Provider,
        }
    }

    /// Returns what else an operator may look at where the provider doesn't accept a client that signs assertions, to be added
    /// to a sentence. Otherwise it is empty.
    #[must_use]
    pub fn may_be_the_clock(&self, authentication: &Authentication) -> &'static str {
        match (self, authentication) {
            (Self::ClientError(_), Authentication::PrivateKeyJwt { .. }) => {
                "; if the key is right, compare this machine's clock with the provider's"
            }
            _ => "",
        }
    }
}

impl From<Fault> for Why {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NameNotFound => Self::NameNotFound,
            Fault::ConnectionRefused => Self::ConnectionRefused,
            Fault::ConnectTimeout => Self::ConnectTimeout,
            Fault::ConnectFailed => Self::ConnectFailed,
            Fault::ProxyFailed => Self::ProxyFailed,
            Fault::CertificateExpired => Self::CertificateExpired,
            Fault::CertificateUntrusted => Self::CertificateUntrusted,
            Fault::CertificateForAnotherName => Self::CertificateForAnotherName,
            Fault::ClientCertificateRefused => Self::ClientCertificateRefused,
            Fault::TlsFailed => Self::TlsFailed,
            Fault::ConnectionClosed => Self::ConnectionClosed,
            Fault::Timeout => Self::Timeout,
            Fault::ConnectionLost => Self::ConnectionLost,
            Fault::CutOff => Self::CutOff,
            Fault::TooLarge => Self::TooLarge,
            Fault::Unreadable => Self::Unreadable,
            // The address is what a request can't be made of.
            Fault::NoRequest => Self::NoEndpoint,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::NameNotFound => Fault::NameNotFound.words(),
            Self::ConnectionRefused => Fault::ConnectionRefused.words(),
            Self::ConnectTimeout => Fault::ConnectTimeout.words(),
            Self::ConnectFailed => Fault::ConnectFailed.words(),
            Self::ProxyFailed => Fault::ProxyFailed.words(),
            Self::CertificateExpired => Fault::CertificateExpired.words(),
            Self::CertificateUntrusted => Fault::CertificateUntrusted.words(),
            Self::CertificateForAnotherName => Fault::CertificateForAnotherName.words(),
            Self::ClientCertificateRefused => Fault::ClientCertificateRefused.words(),
            Self::TlsFailed => Fault::TlsFailed.words(),
            Self::DiscoveryFailed => "the provider's metadata couldn't be read",
            Self::NoMetadata => "the provider's metadata isn't there (404): is the issuer right?",
            Self::IssuerMismatch => {
                "the provider's metadata is that of another issuer: is the issuer right, letter for letter?"
            }
            Self::NoEndpoint => "the provider's metadata has no such endpoint",
            Self::ConnectionClosed => Fault::ConnectionClosed.words(),
            Self::Timeout => Fault::Timeout.words(),
            Self::ConnectionLost => Fault::ConnectionLost.words(),
            Self::CutOff => Fault::CutOff.words(),
            Self::TooLarge => Fault::TooLarge.words(),
            Self::Status(status) => return write!(f, "the answer has status {status}"),
            Self::NotRedeemedStatus(status) => {
                return write!(
                    f,
                    "the answer has status {status} and no OAuth error, which says that nothing was redeemed \
                     (not-redeemed-statuses): is the address of the token endpoint right?"
                );
            }
            Self::Unreadable => Fault::Unreadable.words(),
            Self::NoAccessToken => "the answer has no access token",
            Self::AskedToWait(status) => {
                return write!(
                    f,
                    "the answer has status {status} and asks to wait (Retry-After)"
                );
            }
            Self::Error(code) | Self::ClientError(code) | Self::Busy(code) => {
                return write!(f, "the answer is {}", code.in_words());
            }
            Self::UnknownError(code) => {
                return write!(
                    f,
                    "the answer is {}, and it isn't known what that means: if the user has to log in again, name \
                     the code in refused-codes; if the client is at fault, in misconfigured-codes",
                    code.in_words()
                );
            }
        };
        f.write_str(words)
    }
}
