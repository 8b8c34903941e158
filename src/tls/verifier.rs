//! Who may vouch for a client's certificate.

use std::{collections::BTreeMap, sync::Arc};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::{
    authorities::{Authorities, Vouching},
    identity,
    not_secured::NotSecured,
};
use crate::types::PeerCertificate;

/// So many certificates a client may send beside its own. Verifying tries how they fit together, so that each further one costs more
/// than the last. Chains of real authorities have one or two.
const MOST_INTERMEDIATES: usize = 6;

/// Verifies client certificates. A certificate with a SPIFFE id is verified by the authorities of its trust domain alone,
/// and one without by those of `client-ca` alone. So no authority can speak for another's names.
#[derive(Debug)]
pub(super) struct Verifier {
    client_ca: Option<Vouching>,
    trust_domains: BTreeMap<String, Vouching>,
    is_mandatory: bool,
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
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Lets `authorities` vouch for certificates without a SPIFFE id.
    ///
    /// # Errors
    /// Returns why they can't.
    pub fn add_client_ca(
        &mut self,
        authorities: &Authorities,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), String> {
        self.client_ca = Some(authorities.vouching(provider)?);
        Ok(())
    }

    /// Lets `authorities` vouch for the SPIFFE ids of a trust domain.
    ///
    /// # Errors
    /// Returns why they can't.
    pub fn add_trust_domain(
        &mut self,
        name: &str,
        authorities: &Authorities,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), String> {
        let vouching = authorities.vouching(provider)?;
        self.trust_domains.insert(name.to_owned(), vouching);
        Ok(())
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
        let vouching = self.vouches_for(&identity)?;
        let authorities = vouching
            .at(now.as_secs())
            .ok_or_else(|| refused("all authorities that could vouch for it have expired"))?;
        authorities.verify_client_cert(certificate, intermediates, now)?;
        Ok(identity)
    }

    /// Returns the last seconds of the authorities that could vouch for this identity, since 1970.
    pub fn ends(&self, identity: &PeerCertificate) -> impl Iterator<Item = u64> {
        self.vouches_for(identity)
            .into_iter()
            .flat_map(Vouching::ends)
    }

    /// Returns who could vouch for this identity.
    fn vouches_for(&self, identity: &PeerCertificate) -> Result<&Vouching, Error> {
        match &identity.spiffe_id {
            Some(id) => self
                .trust_domains
                .get(id.trust_domain())
                .ok_or_else(|| refused("no authority of its trust domain is known")),
            None => self
                .client_ca
                .as_ref()
                .ok_or_else(|| refused("it has no SPIFFE id, and there is no client-ca")),
        }
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

    /// Names none. The list is as long as all domains together make it, and it has to fit into 64 KiB. Clients know which
    /// certificate they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verify(end_entity, intermediates, now);
        if verified.is_err() {
            NotSecured::note(end_entity);
        }
        verified.map(|_| ClientCertVerified::assertion())
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
