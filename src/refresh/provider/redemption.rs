//! The token request (RFC 6749, section 6).

use std::{fmt, sync::Arc};

use http::{HeaderValue, Request, header};
use http_body_util::Full;
use hyper::body::Bytes;

use super::{
    Answer, Endpoint, Provider, Why,
    answer::{LONGEST_RETRY_AFTER, classify},
    authentication::authenticate,
    credentials::Material,
    form::Form,
};
use crate::{
    outbound::{Connection, Failure, Fault, Reply, exchange},
    types::Secret,
};

/// The largest answer of a token endpoint that is read, in bytes. What is stored of it has up to twice as many: JSON spells some
/// characters with two bytes, a scope of one letter with four, and an envelope makes three bytes four. No store may have to refuse
/// it, because the token is redeemed by then: a value may have a MiB at least.
const LARGEST: usize = 480 << 10;

/// Why a request couldn't be prepared. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrepareError {
    /// The settings, or a file that they name, are wrong. The text is for the operator, and quotes no secret.
    Misconfigured(String),
    /// The provider can't be reached.
    Unreachable(Why),
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misconfigured(what) => f.write_str(what),
            Self::Unreachable(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for PrepareError {}

impl From<Why> for PrepareError {
    /// Tells what only the operator can mend from what may pass.
    fn from(why: Why) -> Self {
        match why {
            Why::ClientCertificateRefused
            | Why::NoMetadata
            | Why::IssuerMismatch
            | Why::NoEndpoint => Self::Misconfigured(why.to_string()),
            why => Self::Unreachable(why),
        }
    }
}

/// Which endpoint a request goes to.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Token,
    Revocation,
}

/// A request to an endpoint of a provider, ready but for one token, and the connection that it goes over.
pub(super) struct Ready {
    pub endpoint: Endpoint,
    pub material: Arc<Material>,
    form: Form,
    authorization: Option<HeaderValue>,
    connection: Connection,
}

impl Provider {
    /// Does all that can be done before a refresh token is sent: reads the credentials, finds the token endpoint, signs
    /// the client assertion, and connects. Takes as long as `connect-timeout`, and when the endpoints aren't known yet,
    /// as long as `connect-timeout` and `timeout` more.
    ///
    /// A provider drops a connection on which nothing comes, and an assertion is valid for two minutes: send soon.
    ///
    /// # Errors
    /// Returns a [`PrepareError`]. Nothing was redeemed.
    pub async fn prepare(&self) -> Result<Prepared, PrepareError> {
        let mut ready = self.ready(Target::Token).await?;
        let options = &self.options;
        ready.form.add("grant_type", "refresh_token");
        if !options.scopes.is_empty() {
            ready.form.add("scope", &options.scopes.join(" "));
        }
        for resource in &options.resource {
            ready.form.add("resource", resource);
        }
        if let Some(audience) = &options.audience {
            ready.form.add("audience", audience);
        }
        Ok(Prepared {
            provider: self.clone(),
            ready,
        })
    }

    /// Connects to an endpoint, and makes a request that has the client's credentials.
    ///
    /// # Errors
    /// Returns a [`PrepareError`].
    pub(super) async fn ready(&self, target: Target) -> Result<Ready, PrepareError> {
        let options = &self.options;
        let material = self.credentials.read(options).await;
        let material = material.map_err(PrepareError::Misconfigured)?;
        let endpoints = self.discovery.endpoints(options, &material).await;
        let endpoints = endpoints.map_err(PrepareError::from)?;
        let token = endpoints.token;
        let endpoint = match target {
            Target::Token => token.clone(),
            Target::Revocation => endpoints.revocation,
        };
        let endpoint = endpoint.ok_or_else(|| match target {
            Target::Token => PrepareError::from(Why::NoEndpoint),
            Target::Revocation => PrepareError::Unreachable(Why::NoEndpoint),
        })?;
        let mut form = Form::new();
        let audience = token.as_ref().unwrap_or(&endpoint);
        let authorization = authenticate(options, &material, audience, &mut form)
            .map_err(PrepareError::Misconfigured)?;
        let way = material.way(options);
        let opened = Connection::open(&endpoint, way, options.connect_timeout).await;
        let connection = opened.map_err(|fault| {
            self.discovery.suspect(options, &material);
            PrepareError::from(Why::from(fault))
        })?;
        Ok(Ready {
            endpoint,
            material,
            form,
            authorization,
            connection,
        })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// Returns a [`Failure`] if there is no answer.
    pub(super) async fn send(
        &self,
        ready: Ready,
        token: (&str, &Secret),
    ) -> Result<Reply, Failure> {
        let mut form = ready.form;
        form.add(token.0, token.1.expose());
        let mut request = Request::post(ready.endpoint.target())
            .header(header::HOST, ready.endpoint.authority())
            .header(header::ACCEPT, "application/json")
            // Without it, an answer might be compressed (RFC 9110, section 12.5.3).
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(
                header::USER_AGENT,
                concat!("token-broker/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close");
        if let Some(value) = ready.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request: Request<Full<Bytes>> = request
            .body(Full::new(form.into_body()))
            .map_err(|_| Failure::NotSent(Fault::NoRequest))?;
        let mut reply = exchange(ready.connection, request, self.options.timeout, LARGEST).await;
        if let Ok(reply) = &mut reply {
            let wait = reply.retry_after;
            reply.retry_after = wait.map(|wait| wait.min(LONGEST_RETRY_AFTER));
        }
        if matches!(&reply, Ok(reply) if matches!(reply.status, 301..=308 | 404 | 410)) {
            self.discovery.suspect(&self.options, &ready.material);
        }
        reply
    }
}

/// A redemption that is ready: all that is missing is the refresh token. It was not sent if this is dropped.
pub struct Prepared {
    provider: Provider,
    ready: Ready,
}

impl Prepared {
    /// Whether the connection is still there, as far as is known. If it isn't, [`Prepared::send`] sends nothing.
    pub fn is_usable(&mut self) -> bool {
        !self.ready.connection.is_closed()
    }

    /// Sends the refresh token, once, and reads the answer. Takes at most the provider's `timeout`.
    ///
    /// If the future is dropped before it is done, it isn't known whether the token was redeemed.
    pub async fn send(self, refresh_token: &Secret) -> Answer {
        let Self { provider, ready } = self;
        let material = Arc::clone(&ready.material);
        let token = ("refresh_token", refresh_token);
        let answer = match provider.send(ready, token).await {
            Ok(reply) => {
                let options = &provider.options;
                classify(reply, &options.codes, options.tokens_within.as_deref())
            }
            Err(Failure::NotSent(Fault::ClientCertificateRefused)) => Answer::OurFault {
                why: Why::ClientCertificateRefused,
                credentials_changed: false,
            },
            Err(Failure::NotSent(fault)) => Answer::Passing {
                why: fault.into(),
                retry_after: None,
            },
            Err(Failure::Unknown(fault)) => Answer::Unknown { why: fault.into() },
        };
        match answer {
            Answer::OurFault { why, .. } => {
                let credentials = &provider.credentials;
                let credentials_changed = credentials.changed(&provider.options, &material).await;
                Answer::OurFault {
                    why,
                    credentials_changed,
                }
            }
            answer => answer,
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({})", self.provider.options.name.as_str())
    }
}

impl Ready {
    /// Says what type of token follows.
    pub(super) fn hint(&mut self, name: &str) {
        self.form.add("token_type_hint", name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As rows are written: in JSON, where these texts take the most room.
    #[test]
    fn the_largest_answer_makes_a_row_that_may_be_stored() {
        let token = serde_json::to_string(&"\"".repeat(LARGEST)).unwrap();
        let scopes = serde_json::to_string(&vec!["a"; LARGEST / 2]).unwrap();
        let sealed = LARGEST.div_ceil(3) * 4;
        for size in [token.len(), scopes.len(), sealed] {
            // What else a row may have is ids, an origin and times.
            assert!(size + (32 << 10) <= 1 << 20, "{size}");
        }
    }
}
