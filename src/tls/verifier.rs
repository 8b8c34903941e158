//! Who may vouch for a client's certificate.

use std::{collections::BTreeMap, sync::Arc};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::identity;
use crate::types::PeerCertificate;

/// So many certificates a client may send beside its own. Verifying tries how they fit together, so that each further one costs more
/// than the last. Chains of real authorities have one or two.
const MOST_INTERMEDIATES: usize = 6;

/// Verifies client certificates. A certificate with a SPIFFE id is verified by the authorities of its trust domain alone,
/// and one without by those of `client-ca` alone. So no authority can speak for another's names.
#[derive(Debug)]
pub(super) struct Verifier {
    client_ca: Option<Arc<dyn ClientCertVerifier>>,
    trust_domains: BTreeMap<String, Arc<dyn ClientCertVerifier>>,
    is_mandatory: bool,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What is wrong with a certificate's names.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate is refused: {0}")]
struct Refused(&'static str);

impl Verifier {
    /// Returns a verifier that knows no authority yet.
    pub fn new(provider: &CryptoProvider, is_mandatory: bool) -> Self {
        Self {
            client_ca: None,
            trust_domains: BTreeMap::new(),
            is_mandatory,
            hints: Vec::new(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Lets `roots` vouch for certificates without a SPIFFE id.
    ///
    /// # Errors
    /// Returns why they can't.
    pub fn add_client_ca(
        &mut self,
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), String> {
        self.client_ca = Some(self.authorities(roots, provider)?);
        Ok(())
    }

    /// Lets `roots` vouch for the SPIFFE ids of a trust domain.
    ///
    /// # Errors
    /// Returns why they can't.
    pub fn add_trust_domain(
        &mut self,
        name: &str,
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), String> {
        let authorities = self.authorities(roots, provider)?;
        self.trust_domains.insert(name.to_owned(), authorities);
        Ok(())
    }

    fn authorities(
        &mut self,
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        self.hints.extend(roots.subjects());
        WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
            .build()
            .map_err(|error| error.to_string())
    }

    /// Verifies a chain, whose first certificate is the client's, as of `now`. Returns what it says.
    ///
    /// # Errors
    /// Returns why it isn't good.
    pub fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PeerCertificate, Error> {
        if intermediates.len() > MOST_INTERMEDIATES {
            return Err(refused("it comes with too many other certificates"));
        }
        let identity = identity::read(certificate).map_err(refused)?;
        let authorities = match &identity.spiffe_id {
            Some(id) => self
                .trust_domains
                .get(id.trust_domain())
                .ok_or_else(|| refused("no authority of its trust domain is known"))?,
            None => self
                .client_ca
                .as_ref()
                .ok_or_else(|| refused("it has no SPIFFE id, and there is no client-ca"))?,
        };
        authorities.verify_client_cert(certificate, intermediates, now)?;
        Ok(identity)
    }
}

fn refused(why: &'static str) -> Error {
    let other = OtherError(Arc::new(Refused(why)));
    Error::InvalidCertificate(CertificateError::Other(other))
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
