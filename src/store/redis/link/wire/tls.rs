//! TLS to Redis, with rustls on aws-lc-rs and the files that the operator names.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};

use super::{READING, TlsPart};
use crate::{
    reading::Hangs,
    store::redis::Tls,
    types::{certificates_in, private_key_in, read_private, read_whole},
};

/// A file or a name that can't be used.
#[derive(Debug)]
pub struct TlsProblem {
    /// The part of the settings that is wrong.
    pub part: TlsPart,
    /// What was found.
    pub found: String,
}

impl TlsProblem {
    fn new(part: TlsPart, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { part, found }
    }
}

impl Tls {
    /// Reads the files, on another thread.
    ///
    /// # Errors
    /// Returns [`Hangs`], or the first [`TlsProblem`].
    pub(super) async fn read(&self) -> Result<Result<Arc<ClientConfig>, TlsProblem>, Hangs> {
        let tls = self.clone();
        READING.read(move || tls.load()).await
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Returns the first [`TlsProblem`].
    pub(crate) fn load(&self) -> Result<Arc<ClientConfig>, TlsProblem> {
        if let Some(name) = &self.server_name {
            parse_name(name)?;
        }
        let roots = match &self.ca {
            Some(path) => authorities(path)?,
            None => system_roots()?,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsProblem::new(TlsPart::Authorities, error.to_string()))?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let (chain, key) = (certificates(TlsPart::Certificate, cert)?, private_key(key)?);
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| unfit(&error))?
            }
        };
        Ok(Arc::new(config))
    }

    /// Returns the name that the certificate of a server at `host` must be for.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] if this is neither a host name nor an IP address.
    pub(super) fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsProblem> {
        if let Some(name) = &self.server_name {
            return parse_name(name);
        }
        parse_name(host).map_err(|problem| TlsProblem {
            found: "no certificate can name the host that the broker connects to: set the name"
                .to_owned(),
            ..problem
        })
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsProblem> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsProblem::new(TlsPart::ServerName, "is no host name"))
}

/// Returns the system's authorities. They are read only once, because that takes many milliseconds.
///
/// # Errors
/// Returns a [`TlsProblem`] if there are none.
fn system_roots() -> Result<Arc<RootCertStore>, TlsProblem> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if !roots.is_empty() {
            return Ok(Arc::new(roots));
        }
        let why = found.errors.first();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        Err(format!(
            "the system has no certificate authorities{why}: install them, or name a file that holds yours"
        ))
    };
    let roots = ROOTS.get_or_init(load).clone();
    roots.map_err(|found| TlsProblem::new(TlsPart::Authorities, found))
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsProblem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsPart::Authorities, path)? {
        roots.add(certificate).map_err(|error| {
            TlsProblem::new(
                TlsPart::Authorities,
                format!("the file holds an unusable certificate: {error}"),
            )
        })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(part: TlsPart, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let read = read_whole(path).map_err(|problem| problem.to_string());
    let found = read.and_then(|pem| certificates_in(&pem));
    found.map_err(|found| TlsProblem::new(part, found))
}

/// Returns the problem with a certificate and a key that can be read, and not used together.
fn unfit(error: &rustls::Error) -> TlsProblem {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsProblem::new(TlsPart::Key, "the key isn't that of the certificate")
        }
        _ => TlsProblem::new(
            TlsPart::Certificate,
            format!("the certificate or its key can't be used: {error}"),
        ),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let read = read_private(path).map_err(|problem| problem.to_string());
    let found = read.and_then(|pem| private_key_in(&pem));
    found.map_err(|found| TlsProblem::new(TlsPart::Key, found))
}
