//! The broker's own certificate and its key.

use std::{fmt, sync::Arc};

use tokio_rustls::rustls::{
    Error,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};

use super::{
    identity, now,
    options::{TlsPart, TlsProblem},
};

/// The broker's certificate, which its key belongs to.
pub(super) struct Own {
    pub key: Arc<CertifiedKey>,
    /// From when until when it is valid, in seconds since 1970.
    pub validity: (u64, u64),
}

impl Own {
    /// Takes a certificate with the intermediate ones after it, and its key. `parts` names where both come from.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] if the certificate has expired, or the key isn't that of the certificate.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
        parts: [&TlsPart; 2],
    ) -> Result<Self, TlsProblem> {
        let [of_certificate, of_key] = parts;
        let validity = chain.first().and_then(identity::validity);
        let validity = validity.unwrap_or((0, u64::MAX));
        if validity.1 < now() {
            return Err(TlsProblem::new(
                of_certificate,
                "the certificate has expired",
            ));
        }
        let unfit = |error: Error| match error {
            Error::InconsistentKeys(_) => {
                TlsProblem::new(of_key, "the key isn't that of the certificate")
            }
            error => TlsProblem::new(
                of_certificate,
                format!("the certificate or its key can't be used: {error}"),
            ),
        };
        let key = CertifiedKey::from_der(chain, key, provider).map_err(unfit)?;
        Ok(Self {
            key: Arc::new(key),
            validity,
        })
    }
}

/// Prints no key.
impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}
