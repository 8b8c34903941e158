//! Why a TLS handshake failed, in an operator's words. rustls' own texts are those of its types.

use std::time::{Duration, UNIX_EPOCH};

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::UnixTime,
};

use super::{AtFault, ConnectError, Connector, TlsPart};
use crate::store::redis::Address;

impl ConnectError {
    /// Returns the error for a TLS handshake that failed.
    pub(super) fn of_tls(connector: &Connector, address: &Address, error: &Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::of(
                connector.tls_setting(),
                format!("{address} speaks no TLS, and the settings ask for it"),
            ),
            Error::InvalidCertificate(error) => Self::of_certificate(connector, address, error),
            Error::AlertReceived(alert) => Self::of_tls_alert(connector, address, *alert),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::of(AtFault::Url, too_old(address)),
            _ => Self::of(AtFault::Url, format!("{address}: TLS fails: {error}")),
        }
    }

    /// Returns the error for a certificate of the server that the broker doesn't accept.
    fn of_certificate(connector: &Connector, address: &Address, error: &CertificateError) -> Self {
        let tls = |part| AtFault::Tls(connector.peer, part);
        let theirs = format!("the certificate of {address}");
        match error {
            CertificateError::NotValidForName => Self::of(
                tls(TlsPart::ServerName),
                format!("{theirs} is for another name"),
            ),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                let expected = expected.to_str();
                let found = match &presented[..] {
                    [] => format!(
                        "{theirs} names no host (as a subject alternative name), and must be for {expected}"
                    ),
                    names => {
                        let names: Vec<_> = names.iter().map(|name| plain(name)).collect();
                        format!(
                            "{theirs} is for {}, and not for {expected}",
                            names.join(", ")
                        )
                    }
                };
                Self::of(tls(TlsPart::ServerName), found)
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let whose = match connector
                    .access
                    .tls
                    .as_ref()
                    .and_then(|tls| tls.ca.as_ref())
                {
                    Some(_) => "no authority that is trusted",
                    None => {
                        "none of the system's authorities, which count because no others are set,"
                    }
                };
                Self::of(
                    tls(TlsPart::Authorities),
                    format!("{whose} vouches for {theirs}"),
                )
            }
            // Certificates are renewed without a change of the broker's settings.
            CertificateError::ExpiredContext { time, not_after } => Self::passing(format!(
                "{theirs} ended at {}, and this machine's clock says {}",
                date(*not_after),
                date(*time)
            )),
            CertificateError::Expired => Self::passing(format!("{theirs} has expired")),
            CertificateError::NotValidYetContext { time, not_before } => Self::passing(format!(
                "{theirs} begins at {}, and this machine's clock says {}",
                date(*not_before),
                date(*time)
            )),
            CertificateError::NotValidYet => Self::passing(format!("{theirs} isn't valid yet")),
            other => Self::of(AtFault::Url, format!("{theirs} {}", flaw(other))),
        }
    }

    /// Returns the error for an alert of the server.
    fn of_tls_alert(connector: &Connector, address: &Address, alert: AlertDescription) -> Self {
        let ours = AtFault::Tls(connector.peer, TlsPart::Certificate);
        let has_own = connector
            .access
            .tls
            .as_ref()
            .is_some_and(|tls| tls.identity.is_some());
        let what = match alert {
            AlertDescription::CertificateRequired => "wants a certificate of the broker",
            AlertDescription::UnknownCA => {
                "doesn't accept the broker's certificate: it doesn't know the authority"
            }
            AlertDescription::CertificateExpired => {
                "doesn't accept the broker's certificate: it has expired"
            }
            AlertDescription::CertificateRevoked => {
                "doesn't accept the broker's certificate: it was revoked"
            }
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => "doesn't accept the broker's certificate",
            // Before TLS 1.3, a server that misses a certificate says no more than this.
            AlertDescription::HandshakeFailure if has_own => {
                let found = "refuses the handshake: it and the broker have no cipher in common";
                return Self::of(AtFault::Url, format!("{address} {found}"));
            }
            AlertDescription::HandshakeFailure => {
                let found = "refuses the handshake: it and the broker have no cipher in common, or it wants \
                             a certificate of the broker, and none is set";
                return Self::of(AtFault::Url, format!("{address} {found}"));
            }
            AlertDescription::ProtocolVersion => return Self::of(AtFault::Url, too_old(address)),
            other => {
                let found = format!("{address} refuses TLS: {}", words(&format!("{other:?}")));
                return Self::of(AtFault::Url, found);
            }
        };
        Self::of(ours, format!("{address} {what}"))
    }
}

fn too_old(address: &Address) -> String {
    format!("{address} speaks neither TLS 1.2 nor TLS 1.3")
}

/// Returns what is wrong with a certificate that nobody can use.
fn flaw(error: &CertificateError) -> String {
    let flaw = match error {
        CertificateError::BadEncoding => "is damaged",
        CertificateError::Revoked => "was revoked",
        CertificateError::UnhandledCriticalExtension => {
            "has a critical extension that the broker doesn't know"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "isn't for servers (its extended key usage lacks serverAuth)"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed by an algorithm that the broker doesn't accept"
        }
        CertificateError::Other(other) => match format!("{other:?}") {
            other if other.contains("CaUsedAsEndEntity") => {
                "is that of an authority (CA:TRUE): give the server one that the authority signed"
            }
            other if other.contains("UnsupportedCertVersion") => "isn't of X.509 version 3",
            other => return format!("can't be used: {}", words(&other)),
        },
        other => return format!("can't be used: {}", words(&format!("{other:?}"))),
    };
    flaw.to_owned()
}

/// Returns a name without the name of its type: `redis.test` of `DnsName("redis.test")`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

/// Returns the name of a type's variant as words: `unrecognised name` of `UnrecognisedName`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() && !words.ends_with(char::is_whitespace) {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn date(time: UnixTime) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(time.as_secs());
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_become_words() {
        assert_eq!(plain("DnsName(\"redis.test\")"), "redis.test");
        assert_eq!(plain("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(words("UnrecognisedName"), "unrecognised name");
    }
}
