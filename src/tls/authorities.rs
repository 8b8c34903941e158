//! Who vouches for others, and until when.

use std::sync::Arc;

use tokio_rustls::rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, TrustAnchor},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    identity::{self, Authority},
    now,
};

/// Authorities, each with the last second in which it is good, since 1970. There is at least one.
pub(super) struct Authorities(Vec<(u64, TrustAnchor<'static>)>);

/// Verifiers of clients, by the last second in which they are good. rustls doesn't look at when a root expires, so each
/// knows only those authorities that haven't expired by its end.
#[derive(Debug)]
pub(super) struct Vouching(Vec<(u64, Arc<dyn ClientCertVerifier>)>);

impl Authorities {
    /// Makes authorities of these certificates, without those that have expired: others may be their successors. `place` names
    /// where they are from.
    ///
    /// # Errors
    /// Returns what is wrong with one, or that none is left.
    pub fn of(certificates: Vec<CertificateDer<'static>>, place: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for certificate in certificates {
            match identity::authority(&certificate, now()) {
                Authority::Good => {}
                Authority::Expired => continue,
                Authority::NotOne => {
                    return Err(format!(
                        "{place} holds a certificate that is no authority, and may sign no other one: name the authority that \
                         signed it"
                    ));
                }
            }
            let end = identity::validity(&certificate).map_or(u64::MAX, |validity| validity.end);
            let mut root = RootCertStore::empty();
            root.add(certificate)
                .map_err(|error| format!("{place} holds an unusable certificate: {error}"))?;
            all.extend(root.roots.into_iter().map(|root| (end, root)));
        }
        if all.is_empty() {
            return Err(format!("all authorities in {place} have expired"));
        }
        Ok(Self(all))
    }

    /// Returns all of them.
    pub fn roots(&self) -> RootCertStore {
        self.good_at(0)
    }

    /// Returns who verifies clients by them.
    ///
    /// # Errors
    /// Returns why they can't.
    pub fn vouching(&self, provider: &Arc<CryptoProvider>) -> Result<Vouching, String> {
        let mut ends: Vec<_> = self.0.iter().map(|(end, _)| *end).collect();
        ends.sort_unstable();
        ends.dedup();
        let verifiers = ends.into_iter().map(|end| {
            let roots = Arc::new(self.good_at(end));
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
                .build()
                .map(|verifier| (end, verifier))
                .map_err(|error| error.to_string())
        });
        verifiers.collect::<Result<_, _>>().map(Vouching)
    }

    /// Returns those that are good in this second.
    fn good_at(&self, second: u64) -> RootCertStore {
        let good = self.0.iter().filter(|(end, _)| *end >= second);
        good.map(|(_, root)| root.clone()).collect()
    }
}

impl Vouching {
    /// Returns who verifies in this second, or `None` if all authorities have expired.
    pub fn at(&self, second: u64) -> Option<&Arc<dyn ClientCertVerifier>> {
        let good = self.0.iter().find(|(end, _)| *end >= second);
        good.map(|(_, verifier)| verifier)
    }

    /// Returns the last seconds of the authorities.
    pub fn ends(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(end, _)| *end)
    }
}
