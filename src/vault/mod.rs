//! Master keys that the Transit secrets engine of HashiCorp Vault wraps and unwraps, by its HTTP API. OpenBao speaks the
//! same one.
//!
//! Each call is one request over a connection of its own, behind a login where that is how the broker shows who it is.
//! Certificates, tokens and other credentials are read anew each time, so that a renewed one counts at once. Nothing of
//! an answer but the status and a few known texts reaches an error, and nothing of it is kept but the key.
//!
//! | file | what it is |
//! |---|---|
//! | `options.rs` | the settings, as the program uses them |
//! | `login.rs` | the token that each request shows |
//! | `request.rs` | one request and its bounded answer |
//! | `refusal.rs` | what Vault's refusals mean for an operator |

mod login;
mod options;
mod refusal;
mod request;

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use self::options::{Login, VaultOptions};
use self::{
    refusal::Asked,
    request::{Data, base64, to_base64, unreadable},
};
use crate::{
    reading::Reading,
    seal::{Kms, KmsError, MasterKey, WrappedKey},
    types::{Secret, SecretBytes},
};

/// What Vault's ciphertexts begin with.
const SCHEME: &str = "vault";
/// How many bits a master key has.
const BITS: usize = 8 * MasterKey::BYTES;

/// The Transit secrets engine of a Vault.
#[derive(Debug)]
pub struct Vault {
    options: VaultOptions,
    reading: Reading,
}

#[derive(Serialize)]
struct Ciphertext<'a> {
    ciphertext: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Plaintext<'a> {
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    ciphertext: &'a str,
}

#[derive(Serialize)]
struct NewKey {
    bits: usize,
}

impl Vault {
    /// Returns a Vault with these settings. Reads no file and connects to nothing.
    #[must_use]
    pub fn new(options: VaultOptions) -> Self {
        Self {
            options,
            reading: Reading::default(),
        }
    }

    /// Asks the engine to do something with its key.
    async fn transit(
        &self,
        action: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<SecretBytes, KmsError> {
        let token = self.token().await?;
        let VaultOptions { mount, key, .. } = &self.options;
        let path = format!("{mount}/{action}/{key}");
        self.ask(Asked::Transit, &path, Some(&token), body).await
    }

    async fn wrapped(
        &self,
        action: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<WrappedKey, KmsError> {
        let answer = self.transit(action, body).await?;
        let data: Data<Wrapped<'_>> = serde_json::from_slice(&answer).map_err(unreadable)?;
        let key = WrappedKey::new(data.data.ciphertext);
        key.filter(|key| key.scheme() == SCHEME)
            .ok_or_else(|| KmsError::lasting("Vault's answer has no ciphertext"))
    }
}

impl Kms for Vault {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn patience(&self) -> Duration {
        self.options.patience
    }

    fn decrypt<'a>(&'a self, key: &'a WrappedKey) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
        Box::pin(async move {
            let ciphertext = key.as_str();
            let answer = self.transit("decrypt", &Ciphertext { ciphertext }).await?;
            let data: Data<Plaintext<'_>> = serde_json::from_slice(&answer).map_err(unreadable)?;
            base64(data.data.plaintext)
        })
    }

    fn generate(&self) -> BoxFuture<'_, Result<WrappedKey, KmsError>> {
        Box::pin(self.wrapped("datakey/wrapped", &NewKey { bits: BITS }))
    }

    fn encrypt<'a>(&'a self, key: &'a SecretBytes) -> BoxFuture<'a, Result<WrappedKey, KmsError>> {
        Box::pin(async move {
            let text = to_base64(key);
            let plaintext = text.as_ref().map_or("", Secret::expose);
            self.wrapped("encrypt", &Plaintext { plaintext }).await
        })
    }

    fn encrypt_again<'a>(
        &'a self,
        key: &'a WrappedKey,
    ) -> BoxFuture<'a, Result<WrappedKey, KmsError>> {
        Box::pin(async move {
            let ciphertext = key.as_str();
            self.wrapped("rewrap", &Ciphertext { ciphertext }).await
        })
    }
}
