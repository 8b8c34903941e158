//! TLS to Redis, with rustls on aws-lc-rs and the files that the operator names.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{TlsPart, files};
use crate::store::redis::Tls;

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
    /// Returns the first [`TlsProblem`].
    pub(super) async fn read(&self) -> Result<Arc<ClientConfig>, TlsProblem> {
        let tls = self.clone();
        let unread = || {
            Err(TlsProblem::new(
                TlsPart::Authorities,
                "no thread to read files",
            ))
        };
        files::aside(move || tls.load())
            .await
            .unwrap_or_else(unread)
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
            None => system_roots(),
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
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    TlsProblem::new(TlsPart::Certificate, format!("can't be used: {error}"))
                })?
            }
        };
        Ok(Arc::new(config))
    }

    /// Returns the name that the certificate of a server at `host` must be for.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] if this is neither a host name nor an IP address.
    pub(super) fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsProblem> {
        parse_name(self.server_name.as_deref().unwrap_or(host))
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsProblem> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsProblem::new(TlsPart::ServerName, format!("{name:?} is no host name")))
}

/// Returns the system's authorities. They are read only once, because that takes many milliseconds.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(load))
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsProblem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsPart::Authorities, path)? {
        roots.add(certificate).map_err(|error| {
            TlsProblem::new(TlsPart::Authorities, format!("{}: {error}", path.display()))
        })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(part: TlsPart, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let pem = read(part, path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsProblem::new(
            part,
            format!("{} holds no certificate in PEM", path.display()),
        )),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let pem = zeroize::Zeroizing::new(read(TlsPart::Key, path)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        TlsProblem::new(
            TlsPart::Key,
            format!("{} holds no private key in PEM", path.display()),
        )
    })
}

fn read(part: TlsPart, path: &Path) -> Result<Vec<u8>, TlsProblem> {
    fs::read(path).map_err(|error: io::Error| {
        TlsProblem::new(part, format!("{} can't be read: {error}", path.display()))
    })
}
