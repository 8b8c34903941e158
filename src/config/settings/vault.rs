//! The settings of the Vault that unwraps sealing keys.

use std::{path::PathBuf, time::Duration};

use crate::{
    config::syntax::{Syntax, choice, file, parsed, span},
    outbound::Endpoint,
};

/// How the broker gets a token of Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum VaultAuth {
    Token,
    Kubernetes,
    AppRole,
}

const AUTH: [(&str, VaultAuth); 3] = [
    ("token", VaultAuth::Token),
    ("kubernetes", VaultAuth::Kubernetes),
    ("approle", VaultAuth::AppRole),
];

/// Where Kubernetes puts the token of a pod's service account.
const JWT_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

settings! {
    /// The settings of the Vault that unwraps sealing keys.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct VaultSettings in "Keys from Vault" {
        /// The address of the Vault that unwraps the keys of `seal-keys`, such as https://vault.example:8200
        vault_address: Option<Endpoint> = parsed("URL").optional();
        /// The name of the key that wraps them, in Vault's Transit secrets engine
        vault_key: Option<String> = name().optional();
        /// The path that the Transit secrets engine is mounted at
        vault_mount: String = path().default("transit");
        /// The namespace of Vault that all paths are in
        vault_namespace: Option<String> = path().optional();
        /// Certificates (PEM) of the authorities that vouch for Vault; otherwise the system's do
        vault_ca: Option<PathBuf> = file().optional();
        /// How the broker gets a token of Vault: `token` reads it from a file, `kubernetes` logs in with the token of its service
        /// account, `approle` with a role id and a secret id
        vault_auth: VaultAuth = choice("METHOD", &AUTH).default("token");
        /// The file with the token, which is read for each request: Vault Agent may renew it
        vault_token_file: Option<PathBuf> = file().optional();
        /// The path that the method is mounted at, below `auth/`. Unset: the method's name
        vault_auth_mount: Option<String> = path().optional();
        /// The role to log in with, for `kubernetes`
        vault_role: Option<String> = name().optional();
        /// The file with the service account's token, for `kubernetes`
        vault_jwt_file: PathBuf = file().default(JWT_FILE);
        /// The file with the role id, for `approle`
        vault_role_id_file: Option<PathBuf> = file().optional();
        /// The file with the secret id, for `approle`
        vault_secret_id_file: Option<PathBuf> = file().optional();
        /// How long connecting to Vault may take, and then how long an answer
        vault_timeout: Duration = span().default("5s");
        /// How long a start asks Vault again and again before it fails
        vault_patience: Duration = span().default("30s");
    }
}

/// Accepts the name of something in Vault.
fn name() -> Syntax<String> {
    checked("NAME", |c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Accepts a path in Vault. Slashes at its ends don't count.
fn path() -> Syntax<String> {
    checked("PATH", |c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

fn checked(value_name: &'static str, is_allowed: fn(char) -> bool) -> Syntax<String> {
    Syntax::trimmed(value_name, move |text| {
        let text = text.trim_matches('/');
        // A part of dots would lead to another path.
        let is_part = |part: &str| !part.is_empty() && part.chars().any(|c| c != '.');
        if text.chars().all(is_allowed) && text.split('/').all(is_part) {
            return Ok(text.to_owned());
        }
        Err("must be made of letters, digits, -, _ and . (and / in paths)".to_owned())
    })
}
