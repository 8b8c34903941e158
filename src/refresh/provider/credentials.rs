//! The secrets, keys and certificates of a client. They are read for each request, so that a changed file counts at
//! once.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use aws_lc_rs::digest::{Context, SHA256};
use tokio_rustls::rustls::ClientConfig;

use super::{Authentication, ProviderOptions, signing_key::SigningKey};
use crate::{
    outbound::{TlsPart, TlsProblem, Way, tls_config},
    reading::{Complaint, Reading},
    types::{Secret, SecretBytes, lock, one_line, read_private, read_whole},
};

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In this file, without the line break at its end.
    File(PathBuf),
    /// In this variable of the environment.
    Variable(String),
}

/// The setting that names a file or a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSetting(&'static str);

impl FileSetting {
    /// The file with the client secret.
    pub const SECRET: Self = Self("client-secret-file");
    /// The variable with the client secret.
    pub const SECRET_VARIABLE: Self = Self("client-secret-env");
    /// The private key for assertions.
    pub const KEY: Self = Self("private-key-file");
    /// The client's certificate.
    pub const CERTIFICATE: Self = Self("client-certificate-file");
    /// The key of the client's certificate.
    pub const CERTIFICATE_KEY: Self = Self("client-certificate-key-file");
    /// The authorities that vouch for the provider.
    pub const AUTHORITIES: Self = Self("ca-file");
    /// The user and password for the proxy.
    pub const PROXY: Self = Self("proxy-credentials-file");

    /// Returns the name of the setting.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0
    }

    fn is_of_private_key(self) -> bool {
        [Self::KEY, Self::CERTIFICATE_KEY].contains(&self)
    }
}

/// What is wrong with a file or variable that a setting names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// The setting.
    pub setting: FileSetting,
    /// What is wrong. Quotes neither the setting's value, which may be a secret in the wrong place, nor what the file holds.
    pub what: String,
}

impl FileProblem {
    /// Returns a problem with what a setting names.
    pub(super) fn new(setting: FileSetting, what: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self { setting, what }
    }
}

impl From<TlsProblem> for FileProblem {
    fn from(problem: TlsProblem) -> Self {
        let setting = match problem.part {
            TlsPart::Authorities => FileSetting::AUTHORITIES,
            TlsPart::Certificate => FileSetting::CERTIFICATE,
            TlsPart::Key => FileSetting::CERTIFICATE_KEY,
        };
        Self::new(setting, problem.what)
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting.0, self.what)
    }
}

/// Reads what files and variables hold, and collects what is wrong.
#[derive(Default)]
struct Files {
    problems: Vec<FileProblem>,
}

impl Files {
    fn file(&mut self, setting: FileSetting, path: &Path) -> Option<SecretBytes> {
        let read = match setting.is_of_private_key() {
            true => read_private(path),
            false => read_whole(path),
        };
        read.map_err(|wrong| self.problems.push(FileProblem::new(setting, wrong)))
            .ok()
    }

    /// Reads a secret. `setting` is the one that names a file.
    fn source(&mut self, setting: FileSetting, source: &SecretSource) -> Option<SecretBytes> {
        match source {
            SecretSource::File(path) => self.file(setting, path),
            SecretSource::Variable(name) => {
                let text = env::var(name).ok();
                if text.is_none() {
                    let wrong = "no variable of this name is set, or it is not UTF-8";
                    let setting = FileSetting::SECRET_VARIABLE;
                    self.problems.push(FileProblem::new(setting, wrong));
                }
                text.map(|text| SecretBytes::new(text.into_bytes()))
            }
        }
    }

    /// Makes something of what was read.
    fn make<T>(
        &mut self,
        setting: FileSetting,
        bytes: Option<&SecretBytes>,
        make: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<T> {
        let made = make(bytes?);
        made.map_err(|wrong| self.problems.push(FileProblem::new(setting, wrong)))
            .ok()
    }
}

/// What was read from files and the environment: the bytes of each part that is configured.
#[derive(Default)]
struct Parts {
    secret: Option<SecretBytes>,
    key: Option<SecretBytes>,
    certificate: Option<SecretBytes>,
    certificate_key: Option<SecretBytes>,
    ca: Option<SecretBytes>,
    proxy: Option<SecretBytes>,
}

impl Parts {
    fn read(options: &ProviderOptions, files: &mut Files) -> Self {
        let mut parts = Self::default();
        match &options.authentication {
            Authentication::SecretBasic(source) | Authentication::SecretPost(source) => {
                parts.secret = files.source(FileSetting::SECRET, source);
            }
            Authentication::PrivateKeyJwt { key, .. } => {
                parts.key = files.source(FileSetting::KEY, key);
            }
            Authentication::TlsClientAuth(identity) => {
                parts.certificate = files.file(FileSetting::CERTIFICATE, &identity.certificate);
                parts.certificate_key = files.file(FileSetting::CERTIFICATE_KEY, &identity.key);
            }
            Authentication::None => {}
        }
        if let Some(path) = &options.ca_file {
            parts.ca = files.file(FileSetting::AUTHORITIES, path);
        }
        if let Some(source) = &options.proxy_credentials {
            parts.proxy = files.source(FileSetting::PROXY, source);
        }
        parts
    }

    /// Returns a digest by which a change is noticed.
    fn mark(&self) -> [u8; 32] {
        let all = [
            &self.secret,
            &self.key,
            &self.certificate,
            &self.certificate_key,
            &self.ca,
            &self.proxy,
        ];
        // Unlike others, this one wipes the memory in which it works.
        let mut digest = Context::new(&SHA256);
        for part in all {
            let bytes = part.as_ref().map_or(&[][..], |part| part);
            digest.update(&(bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(digest.finish().as_ref());
        mark
    }
}

impl ProviderOptions {
    /// Reads the files and variables that the settings name, as each request does. Returns what is odd about them: a secret
    /// in quotation marks, which may have been meant for a shell.
    ///
    /// # Errors
    /// Returns all that is wrong. The texts quote no secret.
    pub fn check_files(&self) -> Result<Vec<FileProblem>, Vec<FileProblem>> {
        let mut files = Files::default();
        let parts = Parts::read(self, &mut files);
        let made = Material::make(&parts, self, files)?;
        let quoted = "is in quotation marks, which count as part of the secret, so leave them out";
        let secrets = [
            (secret_setting(self), &made.secret),
            (FileSetting::PROXY, &made.proxy),
        ];
        let odd = secrets.into_iter().filter(|(_, secret)| {
            let text = secret.as_ref().map_or("", Secret::expose);
            let is_in = |mark| text.len() > 1 && text.starts_with(mark) && text.ends_with(mark);
            is_in('"') || is_in('\'')
        });
        Ok(odd
            .map(|(setting, _)| FileProblem::new(setting, quoted))
            .collect())
    }
}

/// Returns the setting that names where the client secret is.
fn secret_setting(options: &ProviderOptions) -> FileSetting {
    match &options.authentication {
        Authentication::SecretBasic(SecretSource::Variable(_))
        | Authentication::SecretPost(SecretSource::Variable(_)) => FileSetting::SECRET_VARIABLE,
        _ => FileSetting::SECRET,
    }
}

/// Credentials that are ready for use.
pub(super) struct Material {
    pub secret: Option<Secret>,
    pub key: Option<SigningKey>,
    pub tls: Arc<ClientConfig>,
    /// The user and password for the proxy.
    proxy: Option<Secret>,
    mark: [u8; 32],
}

impl Material {
    /// Returns how the provider is reached.
    pub fn way<'a>(&'a self, options: &'a ProviderOptions) -> Way<'a> {
        Way {
            tls: Some(&self.tls),
            proxy: options.proxy.as_ref(),
            proxy_credentials: self.proxy.as_ref(),
        }
    }

    fn make(
        parts: &Parts,
        options: &ProviderOptions,
        mut files: Files,
    ) -> Result<Self, Vec<FileProblem>> {
        let secret = |bytes: &[u8]| one_line(bytes).map_err(|wrong| wrong.to_string());
        let client = files.make(secret_setting(options), parts.secret.as_ref(), secret);
        let proxy = files.make(FileSetting::PROXY, parts.proxy.as_ref(), secret);
        let key = match &options.authentication {
            Authentication::PrivateKeyJwt { algorithm, .. } => {
                files.make(FileSetting::KEY, parts.key.as_ref(), |pem| {
                    SigningKey::from_pem(pem, *algorithm)
                })
            }
            _ => None,
        };
        let identity = parts
            .certificate
            .as_ref()
            .zip(parts.certificate_key.as_ref())
            .map(|(certificate, key)| (&**certificate, &**key));
        let ca = parts.ca.as_deref();
        let tls = tls_config(ca, identity).map_err(|wrong| files.problems.push(wrong.into()));
        match tls {
            Ok(tls) if files.problems.is_empty() => Ok(Self {
                secret: client,
                key,
                tls,
                proxy,
                mark: parts.mark(),
            }),
            _ => Err(files.problems),
        }
    }
}

/// Returns problems as one text.
fn told(problems: &[FileProblem]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The credentials that were last read and found good.
#[derive(Default)]
pub(super) struct Credentials {
    last: Mutex<Option<Arc<Material>>>,
    reading: Reading,
    wrong: Mutex<Complaint>,
}

impl Credentials {
    /// Reads the credentials, for as long as `connect-timeout` at most. If they can't be used, returns those that were last
    /// found good, and says so in the log now and then.
    ///
    /// # Errors
    /// Returns what is wrong if there are no earlier ones.
    pub async fn read(
        self: &Arc<Self>,
        options: &Arc<ProviderOptions>,
    ) -> Result<Arc<Material>, String> {
        let (this, shared) = (Arc::clone(self), Arc::clone(options));
        let read = move || this.read_here(&shared);
        let read = self.reading.read_within(options.connect_timeout, read);
        let wrong = match read.await {
            Ok(Ok(made)) => return Ok(made),
            Ok(Err(problems)) => told(&problems),
            Err(hangs) => hangs.to_string(),
        };
        let last = self.last().ok_or_else(|| wrong.clone())?;
        // Each request comes here.
        if self.wrong().note_news(&wrong) {
            let provider = options.name.as_str();
            tracing::warn!(provider, "the earlier credentials stay in use: {wrong}");
        }
        Ok(last)
    }

    fn read_here(&self, options: &ProviderOptions) -> Result<Arc<Material>, Vec<FileProblem>> {
        let last = self.last();
        let mut files = Files::default();
        let parts = Parts::read(options, &mut files);
        let made = match last {
            Some(last) if files.problems.is_empty() && last.mark == parts.mark() => last,
            _ => Arc::new(Material::make(&parts, options, files)?),
        };
        self.wrong().note_over();
        *lock(&self.last) = Some(Arc::clone(&made));
        Ok(made)
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

    fn wrong(&self) -> MutexGuard<'_, Complaint> {
        lock(&self.wrong)
    }

    fn last(&self) -> Option<Arc<Material>> {
        lock(&self.last).clone()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}
