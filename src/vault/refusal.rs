//! What Vault's refusals mean for an operator.

use serde::Deserialize;

use super::{Login, VaultOptions};
use crate::seal::KmsError;

/// What a request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The Transit secrets engine was asked to do something with its key.
    Transit,
    /// The broker logged in.
    Login,
}

/// The body of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    errors: Vec<String>,
}

/// Returns the error for an answer that is no success. Its text quotes nothing of the body, which may name what was sent.
pub(super) fn refusal(asked: Asked, status: u16, body: &[u8], options: &VaultOptions) -> KmsError {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let says = |text: &str| body.errors.iter().any(|error| error.contains(text));
    let (may_pass, what) = match (status, asked) {
        (300..=399, _) => (
            true,
            "this Vault node sends requests to another one, and no redirect is followed: let vault-address name the active \
             node, or a balancer that finds it",
        ),
        (400, Asked::Transit) if says("encryption key not found") => (
            false,
            "the Transit engine has no key of this name: see vault-key, vault-mount and vault-namespace",
        ),
        (400, Asked::Transit) if says("too old") => (
            false,
            "it was wrapped by a version of Vault's key below its min_decryption_version: lower that, and have the file \
             wrapped again (token-broker keys rewrap)",
        ),
        (400, Asked::Transit) if says("message authentication failed") || says("ciphertext") => (
            false,
            "Vault's key doesn't decrypt it: another key wrapped it, or its text was changed; see vault-key and the key file",
        ),
        // Vault says so for a role that it doesn't know, and a secret id that is used up.
        (400 | 401 | 403, Asked::Login) => (
            true,
            match options.login {
                Login::AppRole { .. } => {
                    "Vault refuses the login: the role id or the secret id is wrong, expired or used up \
                     (vault-role-id-file, vault-secret-id-file)"
                }
                _ => {
                    "Vault refuses the login: see vault-role, which service accounts and namespaces it is bound to, and \
                     whether Vault may review the token (vault-jwt-file)"
                }
            },
        ),
        (401 | 403, Asked::Transit) => (
            true,
            "Vault denies permission: the token is expired or revoked, or no policy of it allows update on the path of the \
             key; see vault-namespace, too",
        ),
        (404, Asked::Login) => (
            false,
            "nothing is mounted where the broker logs in: see vault-auth-mount and vault-namespace",
        ),
        (404, Asked::Transit) => (
            false,
            "no Transit engine is mounted there: see vault-mount and vault-namespace",
        ),
        (412, _) => (
            true,
            "this Vault node hasn't caught up with the others (412)",
        ),
        (429, _) => (
            true,
            "Vault limits how often it is asked (429): see its quotas",
        ),
        (472, _) => (
            true,
            "this is a disaster recovery secondary, which serves nobody (472): let vault-address name the primary cluster",
        ),
        (473, _) => (
            true,
            "this is a standby node that doesn't pass requests on (473): let vault-address name the active node, or a \
             balancer that finds it",
        ),
        (503, _) => (true, "Vault is sealed, or in maintenance (503): unseal it"),
        (500..=599, _) => {
            let what = format!("Vault failed ({status}): its log says why");
            return KmsError::passing(what);
        }
        _ => {
            let what = format!(
                "Vault refuses the request ({status}): its log says why; is vault-address Vault's?"
            );
            return KmsError::lasting(what);
        }
    };
    KmsError {
        what: what.to_owned(),
        may_pass,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn options(login: Login) -> VaultOptions {
        VaultOptions {
            address: "https://vault.example:8200".parse().unwrap(),
            mount: "transit".to_owned(),
            key: "broker".to_owned(),
            namespace: None,
            ca: None,
            login,
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(30),
        }
    }

    /// The texts in the bodies are those of Vault's source.
    #[test]
    fn each_refusal_sends_the_operator_the_right_way() {
        let token = || Login::Token("/run/token".into());
        let approle = || Login::AppRole {
            mount: "approle".to_owned(),
            role_id: "/run/role".into(),
            secret_id: "/run/secret".into(),
        };
        for (asked, status, body, login, told, may_pass) in [
            (Asked::Transit, 307, "", token(), "vault-address", true),
            (
                Asked::Transit,
                400,
                "encryption key not found",
                token(),
                "vault-key",
                false,
            ),
            (
                Asked::Transit,
                400,
                "ciphertext or signature version is disallowed by policy (too old)",
                token(),
                "min_decryption_version",
                false,
            ),
            (
                Asked::Transit,
                400,
                "cipher: message authentication failed",
                token(),
                "another key",
                false,
            ),
            (
                Asked::Transit,
                400,
                "invalid ciphertext: no prefix",
                token(),
                "another key",
                false,
            ),
            (Asked::Transit, 400, "what else", token(), "(400)", false),
            (
                Asked::Transit,
                403,
                "permission denied",
                token(),
                "allows update",
                true,
            ),
            (
                Asked::Transit,
                404,
                "no handler for route",
                token(),
                "vault-mount",
                false,
            ),
            (Asked::Transit, 412, "", token(), "412", true),
            (Asked::Transit, 429, "", token(), "quotas", true),
            (Asked::Transit, 472, "", token(), "primary cluster", true),
            (Asked::Transit, 473, "", token(), "standby", true),
            (
                Asked::Transit,
                500,
                "internal error",
                token(),
                "its log",
                true,
            ),
            (
                Asked::Transit,
                503,
                "Vault is sealed",
                token(),
                "unseal",
                true,
            ),
            (
                Asked::Login,
                400,
                "invalid role or secret ID",
                approle(),
                "vault-secret-id-file",
                true,
            ),
            (
                Asked::Login,
                404,
                "no handler for route",
                approle(),
                "vault-auth-mount",
                false,
            ),
            (
                Asked::Login,
                503,
                "Vault is sealed",
                approle(),
                "unseal",
                true,
            ),
        ] {
            let json = format!("{{\"errors\":[\"{body}, hunter2\"]}}");
            let error = refusal(asked, status, json.as_bytes(), &options(login));
            assert!(error.what.contains(told), "{status} {body}: {error}");
            assert_eq!(error.may_pass, may_pass, "{status} {body}");
            assert!(!error.what.contains("hunter2"), "{error}");
        }
        let garbage = refusal(Asked::Transit, 400, b"<html>", &options(token()));
        assert!(garbage.what.contains("vault-address"), "{garbage}");
    }
}
