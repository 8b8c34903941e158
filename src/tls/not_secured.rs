//! Why there is no connection over TLS, in an operator's words. rustls' own texts are those of its types.

use std::{cell::RefCell, fmt, io};

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::CertificateDer,
};

use super::identity;
use crate::meter::HandshakeFailure;

/// So many characters of a name are shown. It is the client that has chosen it.
const SHOWN: usize = 200;

tokio::task_local! {
    /// The name of the issuer of the certificate that was refused in this handshake.
    static ISSUER: RefCell<Option<String>>;
}

/// Why a handshake failed.
#[derive(Debug)]
pub struct NotSecured {
    error: io::Error,
    issuer: Option<String>,
}

impl NotSecured {
    /// Waits for a handshake.
    ///
    /// # Errors
    /// Returns why it failed.
    pub(super) async fn or<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, Self> {
        let noting = async {
            let done = handshake.await;
            done.map_err(|error| {
                let issuer = ISSUER.with(RefCell::take);
                Self { error, issuer }
            })
        };
        ISSUER.scope(RefCell::default(), noting).await
    }

    /// Takes note of whom the certificate names that the handshake is about to fail for.
    pub(super) fn note(certificate: &CertificateDer<'_>) {
        let issuer = identity::parsed(certificate).ok().map(|certificate| {
            let name = certificate.issuer().to_string();
            let shown: String = name.chars().take(SHOWN).collect();
            shown.escape_debug().to_string()
        });
        // Outside of a handshake nobody asks.
        drop(ISSUER.try_with(|noted| noted.replace(issuer)));
    }

    /// Returns what kind of failure it is.
    pub(super) fn kind(&self) -> HandshakeFailure {
        match self.of_tls() {
            Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
                HandshakeFailure::Certificate
            }
            Some(_) => HandshakeFailure::Protocol,
            None => HandshakeFailure::CutOff,
        }
    }

    fn of_tls(&self) -> Option<&Error> {
        self.error.get_ref().and_then(|error| error.downcast_ref())
    }

    fn issuer(&self) -> &str {
        self.issuer.as_deref().unwrap_or("nobody")
    }
}

impl fmt::Display for NotSecured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.of_tls() else {
            return self.error.fmt(f);
        };
        f.write_str(match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "the client speaks no TLS: it sends plain text, or another protocol"
            }
            Error::NoApplicationProtocol => {
                "the client doesn't offer HTTP/2 by ALPN (h2), as gRPC's clients do: something between may end TLS"
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::SupportedVersionsExtensionRequired,
            ) => "the client speaks neither TLS 1.2 nor TLS 1.3",
            Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
            ) => "the client and the broker have no cipher in common",
            Error::NoCertificatesPresented => "the client shows no certificate",
            Error::InvalidCertificate(error) => return self.certificate(error, f),
            Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate),
            ) => return write!(f, "the client refuses the broker's certificate ({alert:?})"),
            error => return error.fmt(f),
        })
    }
}

impl NotSecured {
    fn certificate(&self, error: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = self.issuer();
        f.write_str(match error {
            CertificateError::UnknownIssuer => {
                return write!(
                    f,
                    "no authority that the broker knows signed the client's certificate, which names {issuer}"
                );
            }
            CertificateError::BadSignature => {
                return write!(
                    f,
                    "no authority of this name signed the client's certificate: {issuer}; the broker may know its \
                     predecessor or its successor alone"
                );
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the client's certificate has expired, or one that it needs"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the client's certificate isn't valid yet, or one that it needs"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the client's certificate isn't for clients (its extended key usage lacks clientAuth)"
            }
            CertificateError::Other(other) => match format!("{other:?}") {
                told if told.contains("CaUsedAsEndEntity") => {
                    "the client's certificate is that of an authority (CA:TRUE)"
                }
                told if told.contains("UnsupportedCertVersion") => {
                    "the client's certificate isn't of X.509 version 3"
                }
                _ => return write!(f, "{}", other.0),
            },
            error => return write!(f, "the client's certificate can't be verified: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: Error, issuer: Option<&str>) -> String {
        let failed = NotSecured {
            error: io::Error::other(error),
            issuer: issuer.map(str::to_owned),
        };
        failed.to_string()
    }

    #[test]
    fn common_errors_are_told_in_words() {
        let certificate = Error::InvalidCertificate;
        let ca = Some("CN=a");
        for (error, expected) in [
            (InvalidMessage::InvalidContentType.into(), "speaks no TLS"),
            (Error::NoApplicationProtocol, "HTTP/2 by ALPN (h2)"),
            (
                PeerIncompatible::Tls12NotOffered.into(),
                "neither TLS 1.2 nor TLS 1.3",
            ),
            (
                PeerIncompatible::NoCipherSuitesInCommon.into(),
                "no cipher in common",
            ),
            (Error::NoCertificatesPresented, "shows no certificate"),
            (
                Error::AlertReceived(AlertDescription::BadCertificate),
                "refuses the broker's certificate",
            ),
            (
                certificate(CertificateError::UnknownIssuer),
                "which names CN=a",
            ),
            (
                certificate(CertificateError::BadSignature),
                "no authority of this name signed",
            ),
            (certificate(CertificateError::Expired), "has expired"),
            (
                certificate(CertificateError::NotValidYet),
                "isn't valid yet",
            ),
            (
                certificate(CertificateError::InvalidPurpose),
                "lacks clientAuth",
            ),
            (Error::DecryptError, "decrypt"),
        ] {
            let told = told(error, ca);
            assert!(told.contains(expected), "{expected}: {told}");
        }
        let told = told(certificate(CertificateError::UnknownIssuer), None);
        assert!(told.ends_with("names nobody"), "{told}");
    }
}
