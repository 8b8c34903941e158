//! What was found as of one instant, wherever it comes from.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{RootCertStore, pki_types::CertificateDer};

use super::{
    identity::{self, Authority},
    now,
    options::{TlsPart, TlsProblem},
    own::Own,
};

/// Who may vouch for clients: the authorities of each part.
pub(super) type Trusted = BTreeMap<TlsPart, Vec<CertificateDer<'static>>>;

/// A SHA-256, which tells whether something has changed.
pub(super) type Fingerprint = [u8; 32];

/// The parts of what TLS needs, each of which may be broken.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// The broker's certificate and its key.
    pub own: Result<Arc<Own>, Vec<TlsProblem>>,
    /// Who may vouch for clients.
    pub authorities: BTreeMap<TlsPart, Result<Vec<CertificateDer<'static>>, TlsProblem>>,
}

/// Returns those of the certificates that may vouch for others now. `place` names where they are from.
///
/// # Errors
/// Returns what is wrong if one is no authority, or if none is left.
pub(super) fn authorities(
    certificates: Vec<CertificateDer<'static>>,
    place: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for certificate in certificates {
        match identity::authority(&certificate, now()) {
            Authority::Good => {}
            // Others may be its successors.
            Authority::Expired => continue,
            Authority::NotOne => {
                return Err(format!(
                    "{place} holds a certificate that is no authority, and may sign no other one: name the authority \
                     that signed it"
                ));
            }
        }
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| format!("{place} holds an unusable certificate: {error}"))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(format!("all authorities in {place} have expired"));
    }
    Ok(found)
}

/// Returns a fingerprint of texts, whose order counts.
pub(super) fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// Returns a fingerprint of who may vouch for clients.
pub(super) fn fingerprint_of(trusted: &Trusted) -> Fingerprint {
    let names: Vec<_> = trusted.keys().map(ToString::to_string).collect();
    let parts = names.iter().zip(trusted.values());
    fingerprint(parts.flat_map(|(name, roots)| {
        // The name of a part is longer than one byte, so that it can't be taken for the mark of a certificate.
        let roots = roots.iter().flat_map(|root| [&b"-"[..], root.as_ref()]);
        [name.as_bytes()].into_iter().chain(roots)
    }))
}
