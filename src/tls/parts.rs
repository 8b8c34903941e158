//! What was found as of one instant, wherever it comes from.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{
    authorities::Authorities,
    options::{TlsPart, TlsProblem},
    own::Own,
};

/// So many authorities one part may have. Finding out how long a client's chain is good costs as many verifications, and there is a
/// verifier for each end. SPIFFE's bundles have two or three.
const MOST: usize = 32;
/// How large the certificate of an authority may be, in bytes. Real ones have one or two thousand.
const LARGEST: usize = 16 * 1024;

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

/// Returns the certificates, if they are authorities. `place` names where they are from.
///
/// # Errors
/// Returns what is wrong if one is none or too large, if all have expired, or if there are too many.
pub(super) fn authorities(
    certificates: Vec<CertificateDer<'static>>,
    place: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    if certificates.len() > MOST {
        return Err(format!("{place} holds more than {MOST} authorities"));
    }
    if certificates.iter().any(|one| one.len() > LARGEST) {
        return Err(format!(
            "{place} holds a certificate of more than {LARGEST} bytes"
        ));
    }
    Authorities::of(certificates.clone(), place)?;
    Ok(certificates)
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

#[cfg(test)]
mod tests {
    use testkit::authority::Authority;

    use super::*;
    use crate::types::certificates_in;

    fn certificate(name: &str) -> CertificateDer<'static> {
        let authority = Authority::new(name);
        let found = certificates_in(authority.pem.as_bytes()).unwrap();
        found.into_iter().next().unwrap()
    }

    #[test]
    fn a_part_has_so_many_authorities_and_none_of_them_is_larger() {
        let one = certificate("one");
        let many = |count| authorities(vec![one.clone(); count], "it");
        assert_eq!(many(MOST).unwrap().len(), 32);
        let told = many(MOST + 1).unwrap_err();
        assert_eq!(told, "it holds more than 32 authorities");

        // The name stands in it twice, as its own and as its issuer's.
        let rest = one.len() - 2 * "one".len();
        let name = |bytes: usize| "n".repeat((bytes - rest) / 2);
        let [fits, is_larger] = [LARGEST - 64, LARGEST + 64].map(|size| certificate(&name(size)));
        assert!(
            fits.len() <= LARGEST && is_larger.len() > LARGEST,
            "{}",
            fits.len()
        );
        authorities(vec![one.clone(), fits], "it").unwrap();
        let told = authorities(vec![one, is_larger], "it").unwrap_err();
        assert_eq!(told, "it holds a certificate of more than 16384 bytes");
    }
}
