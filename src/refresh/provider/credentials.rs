//! The secrets, keys and certificates of a client. They are read for each request, so that a changed file counts at
//! once.

use std::{
    env,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::{Authentication, ProviderOptions, signing_key::SigningKey, tls};
use crate::types::{Secret, SecretBytes};

/// No secret or certificate chain is larger.
const LARGEST: u64 = 1 << 20;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In this file, without the line break at its end.
    File(PathBuf),
    /// In this variable of the environment.
    Variable(String),
}

impl SecretSource {
    fn read(&self) -> Result<SecretBytes, String> {
        match self {
            Self::File(path) => read(path),
            Self::Variable(name) => match env::var(name) {
                Ok(text) => Ok(SecretBytes::new(text.into_bytes())),
                Err(_) => Err(format!("the variable {name} is not set")),
            },
        }
    }
}

/// Reads a file that isn't empty.
fn read(path: &Path) -> Result<SecretBytes, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{} can't be read: {what}", path.display());
    let file = File::open(path).map_err(|error| wrong(&error))?;
    let size = file.metadata().map_err(|error| wrong(&error))?.len();
    // With room for everything from the start: a buffer that grows would leave a copy behind.
    let room = usize::try_from(size.min(LARGEST)).unwrap_or_default() + 1;
    let mut bytes = SecretBytes::new(Vec::with_capacity(room));
    // A device has no size, and no end.
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(wrong(&"it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// What was read from files and the environment: the bytes of each part that is configured.
#[derive(Default)]
struct Parts {
    secret: Option<SecretBytes>,
    key: Option<SecretBytes>,
    certificate: Option<(SecretBytes, SecretBytes)>,
    ca: Option<SecretBytes>,
    proxy: Option<SecretBytes>,
}

impl Parts {
    fn read(options: &ProviderOptions) -> Result<Self, String> {
        let mut parts = Self::default();
        match &options.authentication {
            Authentication::SecretBasic(source) | Authentication::SecretPost(source) => {
                parts.secret = Some(source.read()?);
            }
            Authentication::PrivateKeyJwt { key, .. } => parts.key = Some(key.read()?),
            Authentication::TlsClientAuth(files) => {
                parts.certificate = Some((read(&files.certificate)?, read(&files.key)?));
            }
            Authentication::None => {}
        }
        parts.ca = options.ca_file.as_deref().map(read).transpose()?;
        let proxy = options.proxy_credentials.as_ref();
        parts.proxy = proxy.map(SecretSource::read).transpose()?;
        Ok(parts)
    }

    /// Returns a digest by which a change is noticed.
    fn mark(&self) -> [u8; 32] {
        let (certificate, key) = match &self.certificate {
            Some((certificate, key)) => (Some(certificate), Some(key)),
            None => (None, None),
        };
        let all = [
            self.secret.as_ref(),
            self.key.as_ref(),
            certificate,
            key,
            self.ca.as_ref(),
            self.proxy.as_ref(),
        ];
        let mut digest = Sha256::new();
        for part in all {
            let bytes = part.map_or(&[][..], |part| part);
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        digest.finalize().into()
    }
}

impl ProviderOptions {
    /// Reads the files and variables that the settings name, as each request does.
    ///
    /// # Errors
    /// Returns what is wrong. The text quotes no secret.
    pub fn check_files(&self) -> Result<(), String> {
        Material::make(&Parts::read(self)?, self).map(drop)
    }
}

/// Credentials that are ready for use.
pub(super) struct Material {
    pub secret: Option<Secret>,
    pub key: Option<SigningKey>,
    pub tls: Arc<ClientConfig>,
    /// The user and password for the proxy.
    pub proxy: Option<Secret>,
    mark: [u8; 32],
}

impl Material {
    fn make(parts: &Parts, options: &ProviderOptions) -> Result<Self, String> {
        let key = match (&options.authentication, &parts.key) {
            (Authentication::PrivateKeyJwt { algorithm, .. }, Some(pem)) => {
                Some(SigningKey::from_pem(pem, *algorithm)?)
            }
            _ => None,
        };
        let identity = parts.certificate.as_ref();
        let identity = identity.map(|(certificate, key)| (&***certificate, &***key));
        Ok(Self {
            secret: text(parts.secret.as_ref(), "the client secret")?,
            key,
            tls: tls::config(parts.ca.as_ref().map(|ca| &***ca), identity)?,
            proxy: text(parts.proxy.as_ref(), "the proxy's password")?,
            mark: parts.mark(),
        })
    }
}

fn stays_in_use(options: &ProviderOptions, wrong: &str) {
    let provider = options.name.as_str();
    tracing::warn!(provider, "the earlier credentials stay in use: {wrong}");
}

/// Returns a secret without the line break at its end.
fn text(bytes: Option<&SecretBytes>, what: &str) -> Result<Option<Secret>, String> {
    let Some(bytes) = bytes else { return Ok(None) };
    let text = str::from_utf8(bytes).map_err(|_| format!("{what} is no text"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    match Secret::new(text.to_owned()) {
        Some(secret) => Ok(Some(secret)),
        None => Err(format!("{what} is empty")),
    }
}

/// The credentials that were last read and found good.
#[derive(Default)]
pub(super) struct Credentials(Mutex<Option<Arc<Material>>>);

impl Credentials {
    /// Reads the credentials, for as long as `connect-timeout` at most. If they can't be used, returns those that were last found good, and says so in the log.
    ///
    /// # Errors
    /// Returns what is wrong if there are no earlier ones.
    pub async fn read(
        self: &Arc<Self>,
        options: &Arc<ProviderOptions>,
    ) -> Result<Arc<Material>, String> {
        let (this, shared) = (Arc::clone(self), Arc::clone(options));
        // A file may be on a disk that doesn't answer.
        let read = tokio::task::spawn_blocking(move || this.read_here(&shared));
        let wrong = match timeout(options.connect_timeout, read).await {
            Ok(Ok(read)) => return read,
            Ok(Err(_)) => "no thread to read files",
            Err(_) => "reading the files takes too long",
        };
        match self.last() {
            Some(last) => {
                stays_in_use(options, wrong);
                Ok(last)
            }
            None => Err(wrong.to_owned()),
        }
    }

    fn read_here(&self, options: &ProviderOptions) -> Result<Arc<Material>, String> {
        let last = self.last();
        let made = Parts::read(options).and_then(|parts| match &last {
            Some(last) if last.mark == parts.mark() => Ok(Arc::clone(last)),
            _ => Material::make(&parts, options).map(Arc::new),
        });
        match (made, last) {
            (Ok(made), _) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
                Ok(made)
            }
            (Err(wrong), Some(last)) => {
                stays_in_use(options, &wrong);
                Ok(last)
            }
            (Err(wrong), None) => Err(wrong),
        }
    }

    /// Whether the credentials are others by now than `used`.
    pub async fn changed(
        self: &Arc<Self>,
        options: &Arc<ProviderOptions>,
        used: &Material,
    ) -> bool {
        let now = self.read(options).await;
        now.is_ok_and(|now| now.mark != used.mark)
    }

    fn last(&self) -> Option<Arc<Material>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}
