//! Where TLS has its certificates from, and what is wrong with one of its parts.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::types::SpiffeId;

/// Where the certificates and keys are, and who shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Where the broker's certificate and the authorities of trust domains come from.
    pub source: Source,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// The authorities (PEM) that vouch for client certificates without a SPIFFE id.
    pub client_ca: Option<PathBuf>,
}

/// Where the broker's certificate and the authorities of trust domains come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files.
    Files {
        /// The broker's certificate, and the intermediate ones after it (PEM).
        certificate: PathBuf,
        /// Its private key (PEM), which nobody else may read.
        key: PathBuf,
        /// The authorities (PEM) of each SPIFFE trust domain. They vouch for its ids, and for nothing else.
        trust_domains: BTreeMap<String, PathBuf>,
    },
    /// SPIFFE's Workload API.
    WorkloadApi {
        /// The agent's Unix socket.
        socket: PathBuf,
        /// The SPIFFE id of the certificate to show. `None`: the first that the agent gives.
        spiffe_id: Option<SpiffeId>,
    },
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

/// A part of what TLS needs: a file of [`TlsOptions`], or something that an agent gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsPart {
    /// The file of the broker's certificate.
    Certificate,
    /// The file of its private key.
    Key,
    /// The file of the authorities for client certificates without a SPIFFE id.
    ClientCa,
    /// The file of the authorities of this trust domain.
    TrustDomain(String),
    /// The broker's certificate and key, from an agent.
    Svid,
    /// The authorities of this trust domain, from an agent.
    Bundle(String),
}

/// What is wrong with a part. It quotes neither a path nor what a file holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {what}")]
pub struct TlsProblem {
    /// The part.
    pub part: TlsPart,
    /// What is wrong with it.
    pub what: String,
}

impl TlsProblem {
    pub(super) fn new(part: &TlsPart, what: impl Into<String>) -> Self {
        Self {
            part: part.clone(),
            what: what.into(),
        }
    }
}

/// Prints the name of the setting.
impl fmt::Display for TlsPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("tls-cert"),
            Self::Key => f.write_str("tls-key"),
            Self::ClientCa => f.write_str("client-ca"),
            Self::TrustDomain(name) => write!(f, "trust-domains, {name}"),
            Self::Svid => f.write_str("spiffe-workload-api, the broker's SVID"),
            Self::Bundle(name) => write!(f, "spiffe-workload-api, the bundle of {name}"),
        }
    }
}
