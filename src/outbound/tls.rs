//! TLS to other services, with rustls on aws-lc-rs.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, client::Resumption,
    crypto::aws_lc_rs, pki_types::CertificateDer,
};

use super::Fault;
use crate::types::{certificates_in, private_key_in};

/// One of the parts that TLS is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPart {
    /// The authorities that vouch for the other end.
    Authorities,
    /// The client's certificate.
    Certificate,
    /// The key of the client's certificate.
    Key,
}

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsProblem {
    /// The part.
    pub part: TlsPart,
    /// What is wrong with it. Quotes nothing of it.
    pub what: String,
}

impl TlsProblem {
    fn new(part: TlsPart, what: impl ToString) -> Self {
        let what = what.to_string();
        Self { part, what }
    }
}

/// Returns how to connect: with the authorities of `ca` (PEM) or the system's, and with a certificate and its key (PEM)
/// of the client's own. No early data is ever sent.
///
/// # Errors
/// Returns what is wrong with them.
pub(crate) fn config(
    ca: Option<&[u8]>,
    identity: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, TlsProblem> {
    let roots = match ca {
        Some(pem) => authorities(pem)?,
        None => system_roots()?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsProblem::new(TlsPart::Authorities, error))?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, TlsPart::Certificate)?;
            let wrong = |what| TlsProblem::new(TlsPart::Key, what);
            let key = private_key_in(key).map_err(wrong)?;
            let apart = "the client certificate and its key don't belong together";
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| wrong(apart.to_owned()))?
        }
    };
    config.enable_early_data = false;
    // Every request shows the certificate that is in force.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8], part: TlsPart) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    certificates_in(pem).map_err(|what| TlsProblem::new(part, what))
}

fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsProblem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, TlsPart::Authorities)? {
        let what = "a certificate in the file can't be used";
        roots
            .add(certificate)
            .map_err(|_| TlsProblem::new(TlsPart::Authorities, what))?;
    }
    Ok(Arc::new(roots))
}

/// Returns the system's authorities. They are read once, because that takes many milliseconds.
fn system_roots() -> Result<Arc<RootCertStore>, TlsProblem> {
    static ROOTS: OnceLock<Option<Arc<RootCertStore>>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        (!roots.is_empty()).then(|| Arc::new(roots))
    };
    let roots = ROOTS.get_or_init(load).clone();
    roots.ok_or_else(|| {
        let what = "must be set: the system has no certificate authorities";
        TlsProblem::new(TlsPart::Authorities, what)
    })
}

/// Returns why a handshake failed.
pub(super) fn fault(error: &io::Error) -> Fault {
    let Some(error) = rustls_error(error) else {
        return Fault::TlsFailed;
    };
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Fault::CertificateExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Fault::CertificateForAnotherName
            }
            _ => Fault::CertificateUntrusted,
        },
        error if is_about_client_certificate(error) => Fault::ClientCertificateRefused,
        _ => Fault::TlsFailed,
    }
}

/// Whether the server ended the handshake because of the client's certificate. With TLS 1.3 the client learns of that
/// when it has already sent its request, which the server hasn't read then.
pub(super) fn client_certificate_is_refused(error: &io::Error) -> bool {
    rustls_error(error).is_some_and(is_about_client_certificate)
}

fn is_about_client_certificate(error: &Error) -> bool {
    matches!(
        error,
        Error::AlertReceived(
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
        )
    )
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
