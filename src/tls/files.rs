//! Reading all files as of one instant.

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{
    authorities::Authorities,
    options::{TlsFile, TlsOptions, TlsProblem},
};
use crate::types::{SecretBytes, read_private, read_whole};

/// How often the files are read until they are twice the same. They are replaced in one step (Kubernetes swaps a link)
/// or within moments.
const TRIES: usize = 5;

/// What is in the files, or why one can't be read.
pub(super) struct Files(BTreeMap<TlsFile, Result<SecretBytes, String>>);

/// The SHA-256 of files, which tells whether they have changed.
pub(super) type Fingerprint = [u8; 32];

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

    fn once(options: &TlsOptions) -> Self {
        let text = |problem: crate::types::SecretProblem| problem.to_string();
        let whole = |path: &Path| read_whole(path).map_err(text);
        let mut files = BTreeMap::from([
            (TlsFile::Certificate, whole(&options.certificate)),
            (TlsFile::Key, read_private(&options.key).map_err(text)),
        ]);
        if let Some(path) = &options.client_ca {
            files.insert(TlsFile::ClientCa, whole(path));
        }
        for (name, path) in &options.trust_domains {
            files.insert(TlsFile::TrustDomain(name.clone()), whole(path));
        }
        Self(files)
    }

    /// Returns a fingerprint of everything.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint_of(|_| true)
    }

    /// Returns a fingerprint of the authorities alone.
    pub fn authorities_fingerprint(&self) -> Fingerprint {
        self.fingerprint_of(|file| !matches!(file, TlsFile::Certificate | TlsFile::Key))
    }

    fn fingerprint_of(&self, which: impl Fn(&TlsFile) -> bool) -> Fingerprint {
        let mut hash = Sha256::new();
        for (file, found) in self.0.iter().filter(|(file, _)| which(file)) {
            let (is_read, bytes) = match found {
                Ok(bytes) => (1, bytes.as_slice()),
                Err(why) => (0, why.as_bytes()),
            };
            for part in [file.to_string().as_bytes(), &[is_read], bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }

    /// Returns the trust domains.
    pub fn trust_domains(&self) -> impl Iterator<Item = (&str, &TlsFile)> {
        self.0.keys().filter_map(|file| match file {
            TlsFile::TrustDomain(name) => Some((name.as_str(), file)),
            _ => None,
        })
    }

    /// Returns the certificates in a file.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] if there are none, or one is damaged.
    pub fn certificates(&self, file: &TlsFile) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
        certificates(self.bytes(file)?).map_err(|what| TlsProblem::new(file, what))
    }

    /// Returns the authorities in a file.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] if there are none, or one is damaged or can't vouch for anybody.
    pub fn authorities(&self, file: &TlsFile) -> Result<Authorities, TlsProblem> {
        authorities(self.bytes(file)?).map_err(|what| TlsProblem::new(file, what))
    }

    /// Returns the broker's private key.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] if there is none.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, TlsProblem> {
        let wrong = |what| TlsProblem::new(&TlsFile::Key, what);
        private_key(self.bytes(&TlsFile::Key)?).map_err(wrong)
    }

    fn bytes(&self, file: &TlsFile) -> Result<&SecretBytes, TlsProblem> {
        match self.0.get(file) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(why)) => Err(TlsProblem::new(file, why)),
            None => Err(TlsProblem::new(file, "must be set")),
        }
    }
}

/// Returns the certificates in a text, or what is wrong with it.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("the file holds no certificate in PEM".to_owned()),
        Err(_) => Err("the file holds a damaged certificate".to_owned()),
    }
}

/// Returns the authorities in a text, or what is wrong with it.
pub(super) fn authorities(pem: &[u8]) -> Result<Authorities, String> {
    Authorities::of(certificates(pem)?)
}

/// Returns the private key in a text, or what is wrong with it.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        "the file holds no private key in PEM that isn't encrypted (PKCS #8, PKCS #1 or SEC 1)"
            .to_owned()
    })
}
