//! Reading all files as of one instant.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio_rustls::rustls::{crypto::CryptoProvider, pki_types::CertificateDer};

use super::{
    authorities::Authorities,
    options::{Source, TlsOptions, TlsPart, TlsProblem},
    own::Own,
    parts::{self, Fingerprint},
};
use crate::types::{SecretBytes, certificates_in, private_key_in, read_private, read_whole};

/// How often the files are read until they are twice the same. They are replaced in one step (Kubernetes swaps a link)
/// or within moments.
const TRIES: usize = 5;

/// What is in the files, or why one can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<TlsPart, Result<SecretBytes, String>>);

impl Files {
    /// Reads all files until twice in a row the same is in them, so that a certificate isn't paired with the key of its
    /// successor.
    pub fn read(options: &TlsOptions) -> Self {
        let mut read = Self::once(options);
        for _ in 1..TRIES {
            let again = Self::once(options);
            if again.fingerprint() == read.fingerprint() {
                break;
            }
            read = again;
        }
        read
    }

    /// Reads all files.
    pub fn once(options: &TlsOptions) -> Self {
        let text = |problem: crate::types::SecretProblem| problem.to_string();
        let whole = |path: &Path| read_whole(path).map_err(text);
        let mut files = BTreeMap::new();
        if let Source::Files {
            certificate,
            key,
            trust_domains,
        } = &options.source
        {
            files.insert(TlsPart::Certificate, whole(certificate));
            files.insert(TlsPart::Key, read_private(key).map_err(text));
            for (name, path) in trust_domains {
                files.insert(TlsPart::TrustDomain(name.clone()), whole(path));
            }
        }
        if let Some(path) = &options.client_ca {
            files.insert(TlsPart::ClientCa, whole(path));
        }
        Self(files)
    }

    /// Returns a fingerprint of everything.
    pub fn fingerprint(&self) -> Fingerprint {
        let texts: Vec<_> = self
            .0
            .iter()
            .map(|(part, found)| {
                let name = part.to_string().into_bytes();
                match found {
                    Ok(bytes) => (name, &b"1"[..], &**bytes),
                    Err(why) => (name, &b"0"[..], why.as_bytes()),
                }
            })
            .collect();
        let texts = texts.iter();
        parts::fingerprint(texts.flat_map(|(name, is_read, text)| [&name[..], is_read, text]))
    }

    /// Returns the broker's certificate and its key.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] for each file that can't be used.
    pub fn own(&self, provider: &CryptoProvider) -> Result<Arc<Own>, Vec<TlsProblem>> {
        let (certificate, key) = (TlsPart::Certificate, TlsPart::Key);
        let chain = self.parsed(&certificate, certificates_in);
        match (chain, self.parsed(&key, private_key_in)) {
            (Ok(chain), Ok(found)) => {
                let own = Own::new(chain, found, provider, [&certificate, &key]);
                own.map(Arc::new).map_err(|problem| vec![problem])
            }
            (chain, found) => Err(chain.err().into_iter().chain(found.err()).collect()),
        }
    }

    /// Returns the authorities in each file that has some, or what is wrong with it.
    pub fn authorities(
        &self,
    ) -> BTreeMap<TlsPart, Result<Vec<CertificateDer<'static>>, TlsProblem>> {
        let parts = self.0.keys();
        let parts =
            parts.filter(|part| matches!(part, TlsPart::ClientCa | TlsPart::TrustDomain(_)));
        parts
            .map(|part| (part.clone(), self.parsed(part, usable)))
            .collect()
    }

    fn parsed<T>(
        &self,
        part: &TlsPart,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, TlsProblem> {
        let parsed = match self.0.get(part) {
            Some(Ok(bytes)) => parse(bytes),
            Some(Err(why)) => Err(why.clone()),
            None => Err("must be set".to_owned()),
        };
        parsed.map_err(|what| TlsProblem::new(part, what))
    }
}

/// Returns the authorities in a text, or what is wrong with it.
pub(super) fn authorities(pem: &[u8]) -> Result<Authorities, String> {
    Authorities::of(certificates_in(pem)?, "the file")
}

fn usable(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    parts::authorities(certificates_in(pem)?, "the file")
}
