//! What a handshake needs: the broker's certificate and key, and the authorities for clients.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use super::{
    ALPN,
    files::{Files, Fingerprint},
    identity, now,
    options::{ClientCertificates, TlsFile, TlsOptions, TlsProblem},
    verifier::Verifier,
};

/// What is in force for handshakes, made of the files as of one instant.
#[derive(Debug)]
pub(super) struct Material {
    pub server: Arc<ServerConfig>,
    /// `None` if clients show no certificates.
    pub verifier: Option<Arc<Verifier>>,
    /// Tells whether the authorities for clients have changed.
    pub authorities: Fingerprint,
    /// From when until when the broker's certificate is valid, in seconds since 1970.
    pub validity: (u64, u64),
}

impl Material {
    /// Makes the material of the files.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] for each file that can't be used.
    pub fn new(options: &TlsOptions, files: &Files) -> Result<Self, Vec<TlsProblem>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut problems = Vec::new();
        let mut keep = |problem: TlsProblem| problems.push(problem);
        let verifier = verifier(options, files, &provider, &mut keep).map(Arc::new);
        let chain = files.certificates(&TlsFile::Certificate).map_err(&mut keep);
        let key = files.key().map_err(&mut keep);
        let (Ok(chain), Ok(key)) = (chain, key) else {
            return Err(problems);
        };
        let (begin, end) = chain
            .first()
            .and_then(identity::validity)
            .unwrap_or((0, u64::MAX));
        if end < now() {
            keep(TlsProblem::new(
                &TlsFile::Certificate,
                "the certificate has expired",
            ));
        }
        let unfit = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsProblem::new(&TlsFile::Key, "the key isn't that of the certificate")
            }
            error => TlsProblem::new(
                &TlsFile::Certificate,
                format!("the certificate or its key can't be used: {error}"),
            ),
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map(|builder| match &verifier {
                Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
                None => builder.with_no_client_auth(),
            })
            .and_then(|builder| builder.with_single_cert(chain, key))
            .map_err(unfit);
        match builder {
            Ok(mut server) if problems.is_empty() => {
                server.alpn_protocols = vec![ALPN.to_vec()];
                // A session that is resumed wouldn't verify the client's certificate again.
                server.session_storage = Arc::new(NoServerSessionStorage {});
                server.send_tls13_tickets = 0;
                Ok(Self {
                    server: Arc::new(server),
                    verifier,
                    authorities: files.authorities_fingerprint(),
                    validity: (begin, end),
                })
            }
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }
}

/// Returns who verifies clients, or `None` if they show no certificates.
fn verifier(
    options: &TlsOptions,
    files: &Files,
    provider: &Arc<CryptoProvider>,
    keep: &mut impl FnMut(TlsProblem),
) -> Option<Verifier> {
    let is_mandatory = match options.client_certificates {
        ClientCertificates::Off => return None,
        ClientCertificates::Optional => false,
        ClientCertificates::Required => true,
    };
    let mut verifier = Verifier::new(provider, is_mandatory);
    if options.client_ca.is_some() {
        let file = TlsFile::ClientCa;
        let added = files.authorities(&file).and_then(|authorities| {
            let added = verifier.add_client_ca(&authorities, provider);
            added.map_err(|what| TlsProblem::new(&file, what))
        });
        added.unwrap_or_else(&mut *keep);
    }
    for (name, file) in files.trust_domains() {
        let added = files.authorities(file).and_then(|authorities| {
            let added = verifier.add_trust_domain(name, &authorities, provider);
            added.map_err(|what| TlsProblem::new(file, what))
        });
        added.unwrap_or_else(&mut *keep);
    }
    Some(verifier)
}
