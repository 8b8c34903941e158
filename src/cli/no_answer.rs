//! Why a broker gave no answer, and what to look at.

use std::{error::Error, io};

use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use super::dial::{BrokerAddress, Target};

/// What the operator has set for TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// Whether `--ca` names authorities.
    pub has_ca: bool,
    /// Whether `--cert` names a certificate to show.
    pub has_cert: bool,
}

/// Says why there is no connection.
pub(super) fn unreachable(target: &Target, means: Means, error: &(dyn Error + 'static)) -> String {
    let why = match fault(error) {
        Some(Fault::Tls(fault)) => of_tls(target, means, fault),
        Some(Fault::System(fault)) => of_the_system(target, fault.kind()),
        None => None,
    };
    let why = why.unwrap_or_else(|| cause(error));
    format!("no connection to {}: {why}", target.address)
}

/// Says why a connection ended without an answer.
pub(super) fn ended(target: &Target, means: Means, error: &(dyn Error + 'static)) -> String {
    let (address, cause) = (&target.address, cause(error));
    if target.tls.is_none() {
        return format!(
            "{address} accepts connections, but ended this one without an answer: it serves TLS, which --ca or --tls asks for, or \
             it is another server, or the broker is just stopping ({cause})"
        );
    }
    // With TLS 1.3 a server judges the client's certificate when the client takes the connection for made.
    let certificate = match means.has_cert {
        true => "it refuses the certificate of --cert",
        false => WANTS_ONE,
    };
    format!(
        "{address} accepts connections over TLS, but ended this one without an answer: {certificate}, or it is another \
         server, or the broker is just stopping ({cause})"
    )
}

const WANTS_ONE: &str = "it wants a certificate: set --cert and --key, or ask at the address of its health-listen, which needs neither TLS nor \
     a certificate";

/// What went wrong below gRPC.
enum Fault<'a> {
    Tls(&'a rustls::Error),
    System(&'a io::Error),
}

/// Returns the innermost error of TLS or of the system. An `io::Error` doesn't name what it wraps among its sources.
fn fault<'a>(error: &'a (dyn Error + 'static)) -> Option<Fault<'a>> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            let inner = io.get_ref().and_then(|inner| inner.downcast_ref());
            found = Some(inner.map_or(Fault::System(io), Fault::Tls));
        }
        next = error.source();
    }
    found
}

fn of_tls(target: &Target, means: Means, error: &rustls::Error) -> Option<String> {
    Some(match error {
        rustls::Error::InvalidMessage(_) => SPEAKS_PLAIN.to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            let cure = match means.has_ca {
                true => "--ca names others",
                false => "set --ca to the file of its authority",
            };
            format!("nobody who is trusted vouches for the broker's certificate: {cure}")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            let (_, name) = target.tls.as_ref()?;
            let name = name.to_str();
            format!(
                "the broker's certificate is not for {name}: set --server-name to a name that it is for"
            )
        }
        rustls::Error::AlertReceived(alert) => {
            let why = match (alert, means.has_cert) {
                (AlertDescription::NoApplicationProtocol, _) => {
                    "it speaks TLS, but no gRPC: it is another server"
                }
                (_, true) => "it refuses the connection, and perhaps the certificate of --cert",
                (_, false) => WANTS_ONE,
            };
            format!("{why} ({error})")
        }
        _ => return None,
    })
}

const SPEAKS_PLAIN: &str = "it doesn't speak TLS: if it is the broker's health-listen, or a broker without TLS, leave out --tls, --ca, --cert, \
     --key and --server-name, and the variables for them";

fn of_the_system(target: &Target, kind: io::ErrorKind) -> Option<String> {
    let why = match (&target.address, kind) {
        (BrokerAddress::Unix(_), io::ErrorKind::NotFound) => {
            "there is no such socket: the broker doesn't run, or its setting listen names another place"
        }
        (BrokerAddress::Unix(_), io::ErrorKind::ConnectionRefused) => {
            "nobody listens on it: the broker that made it has ended"
        }
        (BrokerAddress::Unix(_), io::ErrorKind::PermissionDenied) => {
            "this user may not open it: the broker's listen-mode and the rights of the folder say who may"
        }
        (BrokerAddress::Tcp(_), io::ErrorKind::ConnectionRefused) => {
            "nobody listens there: the broker doesn't run, or its settings listen and health-listen name another address"
        }
        // Only after a connection was made.
        (_, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
            if target.tls.is_some() =>
        {
            SPEAKS_PLAIN
        }
        _ => return None,
    };
    Some(why.to_owned())
}

/// Returns the innermost cause of an error.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
