//! One provider: its settings, and the calls to its endpoints.
//!
//! A refresh token is redeemed in two steps. [`Provider::prepare`] does everything that can be done before: it looks up
//! the endpoint, reads the credentials, signs the client assertion and opens the connection. [`Prepared::send`] then
//! only sends and reads. Between the two the caller can look at what it must be sure of.
//!
//! Connections and requests are [`outbound`](crate::outbound)'s. Nothing here sends a request twice, follows a redirect or keeps a connection for another request. What became of a
//! request is an [`Answer`], and "it isn't known" is one of its variants.
//!
//! | file | what it is |
//! |---|---|
//! | `options.rs` | the settings, as the program uses them |
//! | `credentials.rs`, `signing_key.rs`, `assertion.rs`, `authentication.rs` | who the broker is at the provider |
//! | `discovery.rs` | where the endpoints are |
//! | `form.rs`, `redemption.rs`, `revocation.rs` | the two requests |
//! | `answer/` | what the provider's answer means |
//! | `trial.rs` | tries a provider without redeeming anything |
//! | `why.rs` | words for what went wrong, none of them the provider's |

pub mod answer;
mod assertion;
mod authentication;
mod credentials;
mod discovery;
mod form;
mod options;
mod redemption;
mod revocation;
mod signing_key;
mod trial;
mod why;

use std::sync::Arc;

pub use self::{
    answer::{Answer, Code, IdClaims, TokenAnswer},
    credentials::{FileProblem, FileSetting, SecretSource},
    discovery::Asked,
    options::{
        Algorithm, Authentication, ClientCertificate, Codes, Endpoints, NOT_REDEEMED,
        ProviderOptions, Replay, Rotation,
    },
    redemption::{PrepareError, Prepared},
    revocation::{Revocation, TokenHint},
    trial::{Trial, Verdict},
    why::{Concern, Why},
};
use self::{credentials::Credentials, discovery::Discovery};
pub use crate::outbound::{Endpoint, Proxy};

/// A provider that is configured. Clones share what was discovered and which credentials were last read.
#[derive(Clone, Debug)]
pub struct Provider {
    options: Arc<ProviderOptions>,
    credentials: Arc<Credentials>,
    discovery: Arc<Discovery>,
}

impl Provider {
    /// Returns a provider with these settings. Reads no file and connects to nothing.
    #[must_use]
    pub fn new(options: ProviderOptions) -> Self {
        Self {
            options: Arc::new(options),
            credentials: Arc::default(),
            discovery: Arc::default(),
        }
    }

    /// Returns the settings.
    #[must_use]
    pub fn options(&self) -> &ProviderOptions {
        &self.options
    }
}
