//! How a Vault is reached, and who the broker is there. `docs/sealing.md` says what each setting is for.

use std::{path::PathBuf, time::Duration};

use crate::outbound::{Endpoint, tls_config};

/// The settings of a Vault. They are valid together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultOptions {
    /// Its address, without a path.
    pub address: Endpoint,
    /// The path that the Transit secrets engine is mounted at.
    pub mount: String,
    /// The name of the engine's key.
    pub key: String,
    /// The namespace that all paths are in.
    pub namespace: Option<String>,
    /// A file with the authorities (PEM) that vouch for Vault; otherwise the system's do.
    pub ca: Option<PathBuf>,
    /// Who the broker is.
    pub login: Login,
    /// How long connecting may take, and then how long an answer.
    pub timeout: Duration,
    /// How long a process that starts asks again and again.
    pub patience: Duration,
}

impl VaultOptions {
    /// Checks that authorities (PEM) can vouch for a Vault.
    ///
    /// # Errors
    /// Returns what is wrong with them.
    pub fn check_authorities(pem: &[u8]) -> Result<(), String> {
        match tls_config(Some(pem), None) {
            Ok(_) => Ok(()),
            Err(problem) => Err(problem.what),
        }
    }
}

/// Where the token comes from that requests show. All secrets are in files, which are read for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// From this file, which Vault Agent keeps fresh, for one.
    Token(PathBuf),
    /// From a login with the token of a Kubernetes service account.
    Kubernetes {
        /// The path that the authentication method is mounted at, below `auth`.
        mount: String,
        /// The name of the role.
        role: String,
        /// The file with the service account's token.
        jwt: PathBuf,
    },
    /// From a login with a role id and a secret id.
    AppRole {
        /// The path that the authentication method is mounted at, below `auth`.
        mount: String,
        /// The file with the role id.
        role_id: PathBuf,
        /// The file with the secret id.
        secret_id: PathBuf,
    },
}
