//! Where a provider's endpoints are (OpenID Connect Discovery 1.0, RFC 8414).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, header};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Authentication, ProviderOptions, Why, credentials::Material};
use crate::{
    outbound::{Connection, Endpoint, Failure, exchange},
    types::lock,
};

/// How long metadata is used before it is fetched again.
const AGE: Duration = Duration::from_secs(3600);
/// How often metadata is fetched again because an endpoint isn't what it was.
const PAUSE: Duration = Duration::from_secs(10);
/// The largest metadata that is read, in bytes.
const LARGEST: usize = 256 * 1024;

/// The endpoints of a provider.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub token: Option<Endpoint>,
    pub revocation: Option<Endpoint>,
}

/// A provider's metadata, as far as the broker reads it.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default)]
    mtls_endpoint_aliases: Aliases,
}

/// The endpoints for clients with a certificate (RFC 8705, section 5).
#[derive(Default, Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

/// What came of asking for metadata at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The address.
    pub url: String,
    /// The issuer that the metadata names, or why there is none. The issuer is what the provider wrote: it isn't for a log.
    pub issuer: Result<String, Why>,
}

/// What is known of a provider's metadata.
#[derive(Debug, Default)]
struct Known {
    found: Option<Found>,
    /// When metadata was last asked for.
    asked: Option<Instant>,
    /// Whether a call failed since as if an endpoint had moved.
    is_suspect: bool,
    /// Why nothing was found, and when that was known.
    failed: Option<(Instant, Why)>,
    /// What came of asking last.
    trace: Vec<Asked>,
}

impl Known {
    /// Whether metadata is to be fetched.
    fn is_due(&self) -> bool {
        let pause = if self.is_suspect { PAUSE } else { AGE };
        self.asked.is_none_or(|asked| asked.elapsed() >= pause)
    }
}

/// The metadata that was last fetched.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    known: Mutex<Known>,
    /// Who has it fetches.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Discovery {
    /// Returns the endpoints: those that are set, and for others those that the issuer names. Metadata that was fetched
    /// once is used until newer metadata is there: nobody waits for that.
    ///
    /// # Errors
    /// Returns why an endpoint that isn't set couldn't be found.
    pub async fn endpoints(
        self: &Arc<Self>,
        options: &Arc<ProviderOptions>,
        material: &Arc<Material>,
    ) -> Result<Found, Why> {
        let set = &options.endpoints;
        let Some(issuer) = issuer(options) else {
            return Ok(Found {
                token: set.token.clone(),
                revocation: set.revocation.clone(),
            });
        };
        let found = lock(&self.known).found.clone();
        let found = match found {
            Some(found) => {
                self.fetch_if_due(options, material);
                found
            }
            None => self.first(issuer, options, material).await?,
        };
        Ok(Found {
            token: set.token.clone().or(found.token),
            revocation: set.revocation.clone().or(found.revocation),
        })
    }

    /// Returns what came of asking for metadata last.
    pub fn trace(&self) -> Vec<Asked> {
        lock(&self.known).trace.clone()
    }

    /// Notes that an endpoint may have moved, so that the metadata is fetched again soon.
    pub fn suspect(self: &Arc<Self>, options: &Arc<ProviderOptions>, material: &Arc<Material>) {
        lock(&self.known).is_suspect = true;
        self.fetch_if_due(options, material);
    }

    /// Returns the first metadata, as soon as it is there. Whoever comes meanwhile waits for the same answer, instead of
    /// asking too.
    async fn first(
        &self,
        issuer: &Endpoint,
        options: &ProviderOptions,
        material: &Material,
    ) -> Result<Found, Why> {
        let came = Instant::now();
        let _turn = self.turn.lock().await;
        {
            let known = lock(&self.known);
            if let Some(found) = &known.found {
                return Ok(found.clone());
            }
            if let Some((at, why)) = &known.failed
                && *at > came
            {
                return Err(why.clone());
            }
        }
        self.fetch(issuer, options, material).await
    }

    /// Fetches metadata in the background, if it is time and nobody does.
    fn fetch_if_due(self: &Arc<Self>, options: &Arc<ProviderOptions>, material: &Arc<Material>) {
        if issuer(options).is_none() || !lock(&self.known).is_due() {
            return;
        }
        let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else {
            return;
        };
        let (this, options) = (Arc::clone(self), Arc::clone(options));
        let material = Arc::clone(material);
        let fetching = async move {
            let _turn = turn;
            let Some(issuer) = issuer(&options) else {
                return;
            };
            // Somebody may have fetched it just before.
            if lock(&this.known).is_due()
                && let Err(why) = this.fetch(issuer, &options, &material).await
            {
                let provider = options.name.as_str();
                tracing::warn!(provider, "the earlier metadata stays in use: {why}");
            }
        };
        tokio::spawn(fetching.in_current_span());
    }

    /// Fetches metadata, and notes what came of it. The caller has the turn.
    async fn fetch(
        &self,
        issuer: &Endpoint,
        options: &ProviderOptions,
        material: &Material,
    ) -> Result<Found, Why> {
        {
            let mut known = lock(&self.known);
            known.asked = Some(Instant::now());
            // What is suspected from now on counts: the answer may be older.
            known.is_suspect = false;
        }
        let mut trace = Vec::new();
        let fetched = fetch(issuer, options, material, &mut trace).await;
        let mut known = lock(&self.known);
        known.trace = trace;
        match &fetched {
            Ok(found) => {
                known.found = Some(found.clone());
                known.failed = None;
            }
            Err(why) => known.failed = Some((Instant::now(), why.clone())),
        }
        fetched
    }
}

/// Returns the issuer, if an endpoint isn't set.
fn issuer(options: &ProviderOptions) -> Option<&Endpoint> {
    let set = &options.endpoints;
    let all_are_set = set.token.is_some() && set.revocation.is_some();
    set.issuer.as_ref().filter(|_| !all_are_set)
}

async fn fetch(
    issuer: &Endpoint,
    options: &ProviderOptions,
    material: &Material,
    trace: &mut Vec<Asked>,
) -> Result<Found, Why> {
    // There is no metadata if no address has any. Whatever else an address answers may pass.
    let mut why = Why::NoMetadata;
    for url in addresses(issuer) {
        let parsed = url.parse().map_err(|_| Why::DiscoveryFailed)?;
        let fetched = fetch_from(&parsed, options, material).await;
        let named = fetched.as_ref().map(|metadata| metadata.issuer.clone());
        let issuer_named = named.map_err(Clone::clone);
        trace.push(Asked {
            url,
            issuer: issuer_named,
        });
        match fetched {
            Ok(metadata) => return endpoints(metadata, issuer, options),
            Err(Why::Status(404 | 410)) => {}
            Err(Why::Status(status)) => why = Why::Status(status),
            // The other address is at the same host.
            Err(other) => return Err(other),
        }
    }
    Err(why)
}

/// Returns the addresses of an issuer's metadata, the likelier one first.
fn addresses(issuer: &Endpoint) -> [String; 2] {
    let (origin, path) = (issuer.origin(), issuer.path());
    [
        format!("{origin}{path}/.well-known/openid-configuration"),
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
    ]
}

async fn fetch_from(
    url: &Endpoint,
    options: &ProviderOptions,
    material: &Material,
) -> Result<Metadata, Why> {
    let request = Request::get(url.target())
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .body(Full::default())
        .map_err(|_| Why::DiscoveryFailed)?;
    let way = material.way(options);
    let connection = Connection::open(url, way, options.connect_timeout).await?;
    let reply = exchange(connection, request, options.timeout, LARGEST).await;
    let reply = reply.map_err(|failure| match failure {
        Failure::NotSent(fault) | Failure::Unknown(fault) => fault,
    })?;
    if reply.status != 200 {
        return Err(Why::Status(reply.status));
    }
    let body = reply.body?;
    serde_json::from_slice(&body).map_err(|_| Why::DiscoveryFailed)
}

fn endpoints(
    metadata: Metadata,
    issuer: &Endpoint,
    options: &ProviderOptions,
) -> Result<Found, Why> {
    if metadata.issuer != issuer.as_str() {
        return Err(Why::IssuerMismatch);
    }
    let aliases = match options.authentication {
        Authentication::TlsClientAuth(_) => metadata.mtls_endpoint_aliases,
        _ => Aliases::default(),
    };
    let endpoint = |alias: Option<String>, usual: Option<String>| -> Option<Endpoint> {
        let endpoint: Endpoint = alias.or(usual)?.parse().ok()?;
        // An issuer that is reached over TLS can't lead to where there is none.
        (endpoint.is_tls() || !issuer.is_tls()).then_some(endpoint)
    };
    Ok(Found {
        token: endpoint(aliases.token_endpoint, metadata.token_endpoint),
        revocation: endpoint(aliases.revocation_endpoint, metadata.revocation_endpoint),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_where_the_standards_say() {
        let issuer = "https://idp.example/tenant/a/".parse().unwrap();
        assert_eq!(
            addresses(&issuer),
            [
                "https://idp.example/tenant/a/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server/tenant/a"
            ]
        );
    }
}
