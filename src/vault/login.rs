//! The token that a request shows.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Login, Vault, refusal::Asked, request::unreadable};
use crate::{
    seal::KmsError,
    types::{Secret, read_secret},
};

#[derive(Serialize)]
struct ServiceAccount<'a> {
    role: &'a str,
    jwt: &'a str,
}

#[derive(Serialize)]
struct AppRole<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Deserialize)]
struct LoggedIn<'a> {
    #[serde(borrow)]
    auth: Auth<'a>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    client_token: &'a str,
}

impl Vault {
    /// Returns the token that a request shows: what a file holds, or what a login gives.
    ///
    /// # Errors
    /// Returns why there is none.
    pub(super) async fn token(&self) -> Result<Secret, KmsError> {
        let answer = match &self.options.login {
            Login::Token(file) => return self.secret("vault-token-file", file).await,
            Login::Kubernetes { mount, role, jwt } => {
                let jwt = self.secret("vault-jwt-file", jwt).await?;
                let body = ServiceAccount {
                    role,
                    jwt: jwt.expose(),
                };
                self.ask(Asked::Login, &login_at(mount), None, &body).await
            }
            Login::AppRole {
                mount,
                role_id,
                secret_id,
            } => {
                let role_id = self.secret("vault-role-id-file", role_id).await?;
                let secret_id = self.secret("vault-secret-id-file", secret_id).await?;
                let body = AppRole {
                    role_id: role_id.expose(),
                    secret_id: secret_id.expose(),
                };
                self.ask(Asked::Login, &login_at(mount), None, &body).await
            }
        }?;
        let found: LoggedIn<'_> = serde_json::from_slice(&answer).map_err(unreadable)?;
        let token = Secret::new(found.auth.client_token.to_owned());
        token.ok_or_else(|| KmsError::lasting("Vault's answer to the login has no token"))
    }

    /// Reads a file that holds one secret. What is wrong with it may pass: whoever writes it may be about to.
    async fn secret(&self, setting: &str, path: &Path) -> Result<Secret, KmsError> {
        let path = path.to_owned();
        let read = self.reading.read(move || read_secret(&path)).await;
        let wrong = match read {
            Ok(Ok(secret)) => return Ok(secret),
            Ok(Err(wrong)) => wrong.to_string(),
            Err(hangs) => hangs.to_string(),
        };
        Err(KmsError::passing(format!("{setting}: {wrong}")))
    }
}

fn login_at(mount: &str) -> String {
    format!("auth/{mount}/login")
}
