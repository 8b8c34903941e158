//! One request to Vault.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::ClientConfig;

use super::{
    Vault,
    refusal::{Asked, refusal},
};
use crate::{
    outbound::{Connection, Failure, Way, exchange, secret_body, secret_header, tls_config},
    seal::KmsError,
    types::{Secret, SecretBytes, read_whole},
};

/// The largest answer that is read, in bytes. A token of a login may name many policies.
const LARGEST: usize = 64 * 1024;
/// The room for a body, in bytes: a service account's token, and some.
const ROOM: usize = 16 * 1024;

/// The part of an answer that counts.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Data<T> {
    pub data: T,
}

impl Vault {
    /// Posts `body` to a path below `/v1/`, and returns the answer if it is a success.
    ///
    /// # Errors
    /// Returns a [`KmsError`], for which `asked` is what the request was about.
    pub(super) async fn ask(
        &self,
        asked: Asked,
        path: &str,
        token: Option<&Secret>,
        body: &(impl Serialize + Sync),
    ) -> Result<SecretBytes, KmsError> {
        let options = &self.options;
        let tls = match options.address.is_tls() {
            true => Some(self.tls().await?),
            // Vault Agent on this machine.
            false => None,
        };
        let way = Way {
            tls: tls.as_ref(),
            proxy: None,
            proxy_credentials: None,
        };
        let request = self.request(path, token, body)?;
        let away = |fault| KmsError::passing(format!("Vault doesn't answer: {fault}"));
        let connection = Connection::open(&options.address, way, options.timeout)
            .await
            .map_err(away)?;
        let reply = exchange(connection, request, options.timeout, LARGEST).await;
        let reply = reply.map_err(|failure| match failure {
            Failure::NotSent(fault) | Failure::Unknown(fault) => away(fault),
        })?;
        match (reply.status, reply.body) {
            (200, Ok(body)) => Ok(body),
            (200, Err(fault)) => Err(away(fault)),
            (status, body) => {
                let body = body.unwrap_or_default();
                Err(refusal(asked, status, &body, options))
            }
        }
    }

    /// Returns whom Vault is vouched for by.
    async fn tls(&self) -> Result<Arc<ClientConfig>, KmsError> {
        let wrong = |what: String| KmsError::passing(format!("vault-ca: {what}"));
        let ca = match &self.options.ca {
            None => None,
            Some(path) => {
                let path = path.clone();
                let read = self.reading.read(move || read_whole(&path)).await;
                let read = read.map_err(|hangs| wrong(hangs.to_string()))?;
                Some(read.map_err(|problem| wrong(problem.to_string()))?)
            }
        };
        let ca = ca.as_deref();
        tls_config(ca, None).map_err(|problem| wrong(problem.what))
    }

    fn request(
        &self,
        path: &str,
        token: Option<&Secret>,
        body: &impl Serialize,
    ) -> Result<Request<Full<Bytes>>, KmsError> {
        let options = &self.options;
        let impossible = || KmsError::lasting("no request can be made of the settings");
        let mut bytes = SecretBytes::with_capacity(ROOM);
        serde_json::to_writer(&mut bytes, body).map_err(|_| impossible())?;
        let mut request = Request::post(format!("/v1/{path}"))
            .header(header::HOST, options.address.authority())
            .header(header::ACCEPT, "application/json")
            // Without it, an answer might be compressed (RFC 9110, section 12.5.3).
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("token-broker/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
            // Vault Agent may ask for it, to tell programs from browsers that were tricked.
            .header("X-Vault-Request", "true");
        if let Some(namespace) = &options.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            let value = secret_header(SecretBytes::new(token.expose().into()));
            let unfit = || KmsError::lasting("Vault's token can't be sent in a header");
            let value = value.ok_or_else(unfit)?;
            request = request.header("X-Vault-Token", value);
        }
        let body = Full::new(secret_body(bytes));
        request.body(body).map_err(|_| impossible())
    }
}

/// Returns the error for an answer that isn't what Vault answers.
pub(super) fn unreadable(_: serde_json::Error) -> KmsError {
    KmsError::passing("the answer isn't one of Vault's: is vault-address right?")
}

/// Returns the bytes that a text in base64 stands for.
pub(super) fn base64(text: &str) -> Result<SecretBytes, KmsError> {
    let bytes = SecretBytes::from_base64(text);
    bytes.ok_or_else(|| KmsError::lasting("what Vault unwrapped isn't base64"))
}

/// Returns bytes in base64. They aren't empty.
pub(super) fn to_base64(bytes: &SecretBytes) -> Option<Secret> {
    Secret::new(STANDARD.encode(&**bytes))
}
