//! Which files TLS has, and what is wrong with one.

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Where the certificates and keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The broker's certificate, and the intermediate ones after it (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM), which nobody else may read.
    pub key: PathBuf,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// The authorities (PEM) that vouch for client certificates without a SPIFFE id.
    pub client_ca: Option<PathBuf>,
    /// The authorities (PEM) of each SPIFFE trust domain. They vouch for its ids, and for nothing else.
    pub trust_domains: BTreeMap<String, PathBuf>,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None is asked for.
    Off,
    /// A client may show none. One that it shows has to be good.
    Optional,
    /// A client without a good one isn't served.
    Required,
}

/// A file of [`TlsOptions`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsFile {
    /// The broker's certificate.
    Certificate,
    /// Its private key.
    Key,
    /// The authorities for client certificates without a SPIFFE id.
    ClientCa,
    /// The authorities of this trust domain.
    TrustDomain(String),
}

/// What is wrong with a file. It quotes neither the path nor what the file holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}")]
pub struct TlsProblem {
    /// The file.
    pub file: TlsFile,
    /// What is wrong with it.
    pub what: String,
}

impl TlsProblem {
    pub(super) fn new(file: &TlsFile, what: impl Into<String>) -> Self {
        Self {
            file: file.clone(),
            what: what.into(),
        }
    }
}

/// Prints the name of the setting.
impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("tls-cert"),
            Self::Key => f.write_str("tls-key"),
            Self::ClientCa => f.write_str("client-ca"),
            Self::TrustDomain(name) => write!(f, "trust-domains, {name}"),
        }
    }
}
